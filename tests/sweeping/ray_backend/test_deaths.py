"""A sweep whose Ray dies ends by one line; and one that dies takes its Ray with it."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from cfsweep.errors import not_written
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from cfsweep.sweeping.ray_backend.deaths import died, full_disk_named, met_by_the_broker
from tests.conftest import Run
from tests.sweeping.command import Processes, descendants, finish, new_checkpoints, until
from tests.sweeping.ray_backend.scenarios import SLOW, SMOKE, those_who_live_on
from tests.sweeping.ray_backend.test_sweeps import check_complete

TOLD = (
    "cfsweep: Ray has failed, or one of its processes was killed ({}). `cfsweep resume` goes on, as does "
    "`cfsweep confirm`; see that there is "
)


def test_what_rays_own_processes_come_to_is_one_line() -> None:
    for error in (ray.exceptions.RayActorError(), ray.exceptions.RaySystemError("gone"), RuntimeError("2 were killed")):
        line = str(died(error))
        assert line.startswith("Ray has failed, or one of its processes was killed (")
        assert "`cfsweep resume` goes on" in line
        assert "\n" not in line
    assert "(ray::train() (pid=7))" in str(died(RuntimeError("\x1b[36mray::train()\x1b[39m (pid=7)")))


@pytest.mark.parametrize(("number", "is_told"), [(errno.EROFS, True), (errno.EIO, True), (errno.ECONNRESET, False)])
def test_what_the_broker_met_on_the_disk_is_no_death_of_rays(number: int, is_told: bool) -> None:
    met = OSError(number, os.strerror(number), "study/checkpoints/pack000001.pt")
    error = ray.exceptions.RayTaskError("ray::StreamBroker.close()", "Traceback", met).as_instanceof_cause()
    found = met_by_the_broker(error)
    assert (found is not None) is is_told
    assert found is None or str(not_written(found)).startswith("study/checkpoints/pack000001.pt: ")
    assert met_by_the_broker(ray.exceptions.RayActorError()) is None


def test_a_disk_that_ray_tune_finds_full_is_told_by_its_place() -> None:
    unnamed = OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")
    with pytest.raises(OSError, match="No space left") as caught, full_disk_named("/tmp/of-tune"):
        raise unnamed
    assert str(not_written(caught.value)).startswith("/tmp/of-tune: no space left on device. Make room; ")
    for other in (OSError(errno.ENOSPC, "full", "runs/a"), OSError(errno.EIO, "an error of the disk")):
        with pytest.raises(OSError, match=r"full|error") as caught, full_disk_named("/tmp/of-tune"):
            raise other
        assert caught.value is other


# ------------------------------------------------------------------------------------------------ without Ray

# A process that would go on for long, or raise an error of its own, but one of Ray's dies meanwhile.
DIES = """
import sys, threading, time
from cfsweep.sweeping.ray_backend import deaths
deaths.GRACE_S = 1.0
dead, interrupt = {{}}, threading.Event()
deaths.dead_processes = lambda: dead
session = deaths.Session(interrupt)
try:
    with deaths.ends_with_ray(session):
        time.sleep(0.3)
        {}
finally:
    print("shuts down")
"""


@pytest.mark.parametrize(
    ("happens", "code", "told"),
    [
        ("pass", 0, ""),
        ("dead.update(raylet=-9); time.sleep(100)", 2, TOLD.format("raylet: exit code -9")),
        ("dead.update(raylet=-9); raise ValueError", 2, TOLD.format("raylet: exit code -9")),
        (
            "dead.update(raylet=0); time.sleep(0.3); interrupt.set(); time.sleep(100)",
            130,
            "cfsweep: interrupted; `cfsweep re",
        ),
    ],
)
def test_it_ends_where_a_process_of_rays_has_died(processes: Processes, happens: str, code: int, told: str) -> None:
    ended, printed, complaints = finish(processes.start(program=("-c", DIES.format(happens))), 60)
    assert (ended, printed) == (code, "" if code else "shuts down\n")
    assert complaints.startswith(told)
    assert complaints.count("\n") == (1 if code else 0)


def test_it_ends_where_the_work_fails_as_a_cluster_is_lost(processes: Processes) -> None:
    """To shut down what is left of Ray would be to wait for it, or to be ended by it."""
    at_a_cluster = DIES.replace("ends_with_ray(session)", "ends_with_ray(session, a_cluster=True)")
    fails = at_a_cluster.format("deaths.lost_of_cluster = lambda: 'the raylet'; raise ValueError")
    code, printed, complaints = finish(processes.start(program=("-c", fails)), 60)
    assert (code, printed) == (2, "")
    assert complaints.startswith(TOLD.format("the raylet of the cluster does not answer"))


ANOTHER = """
import os
from cfsweep.sweeping.restarts import Restarts
print(os.getpid(), Restarts.so_far().n, os.environ.get("CFSWEEP_RESTARTS") or os.environ.get("CFSWEEP_PAUSE_S"))
"""


def test_another_process_takes_its_place_where_there_is_a_command_for_it(processes: Processes) -> None:
    """Not before the study has begun, unless this one took such a place; its id stays, and it knows how often that
    was."""
    again = f"import os; session = deaths.Session(interrupt, lambda: [sys.executable, '-c', {ANOTHER!r}])"
    dies = "dead.update(raylet=-9); time.sleep(100)"
    begun = DIES.replace("session = deaths.Session(interrupt)", f"{again}; session.begun.set()").format(dies)
    process = processes.start(program=("-c", begun))
    code, printed, complaints = finish(process, 60)
    assert (code, printed) == (0, f"{process.pid} 1 None\n"), complaints
    went_on = "goes on by itself in 1 s (1 of at most 6 times without progress)\n"
    assert complaints == f"{TOLD.partition('. ')[0].format('raylet: exit code -9')}; {went_on}"
    not_begun = DIES.replace("session = deaths.Session(interrupt)", again).format(dies)
    assert finish(processes.start(program=("-c", not_begun)), 60)[0] == 2
    second = again.removesuffix(")") + ", deaths.Restarts(1))"
    process = processes.start(program=("-c", DIES.replace("session = deaths.Session(interrupt)", second).format(dies)))
    code, printed, complaints = finish(process, 60)
    assert (code, printed) == (0, f"{process.pid} 2 None\n"), complaints


def test_the_other_process_has_none_of_its_open_files(processes: Processes) -> None:
    code = "import os, sys; from cfsweep.sweeping.restarts import Restarts, become; kept = os.open(os.devnull, 0)\n"
    code += "os.set_inheritable(kept, True); tells = f'import os; print(os.path.exists(\"/dev/fd/{kept}\"))'\n"
    code += "become([sys.executable, '-c', tells], Restarts(1), 0)"
    assert finish(processes.start(program=("-c", code)), 60) == (0, "False\n", "")


def test_it_does_so_no_more_where_that_was_in_vain_too_often(processes: Processes) -> None:
    again = "session = deaths.Session(interrupt, lambda: ['false'], deaths.Restarts(6)); session.begun.set()"
    code = DIES.replace("session = deaths.Session(interrupt)", again).format("dead.update(gcs=-9); time.sleep(100)")
    ended, _, complaints = finish(processes.start(program=("-c", code)), 60)
    assert ended == 2
    assert complaints.startswith(TOLD.format("gcs: exit code -9"))


def test_a_terminal_gets_its_cursor_back() -> None:
    ours, theirs = pty.openpty()
    code = DIES.format("dead.update(raylet=-9); time.sleep(100)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=subprocess.PIPE, text=True)
    ended, _, complaints = finish(process, 60)
    assert ended == 2, complaints
    assert os.read(ours, 100) == b"\x1b[?25h\r\n"
    os.close(ours)
    os.close(theirs)


# ------------------------------------------------------------------------------------------------ real sweeps


def results_of(folder: Path, trials: set[int]) -> list[dict[str, Any]]:
    """What was found out about these trials, but for what differs from one training to the next."""
    chance = ("train_s", "started_at", "peak_bytes", "attempt")
    rows = [row for table in ("runs", "accuracy") for row in read_table(folder, table).to_pylist()]
    kept = [{k: v for k, v in row.items() if k not in chance} for row in rows if row["trial"] in trials]
    return sorted(kept, key=repr)


@pytest.mark.slow
def test_a_sweep_whose_ray_was_killed_says_so_and_goes_on(processes: Processes, run: Run, tmp_path: Path) -> None:
    """Left alone, Ray's library would end it with exit code 1 and a line of C++, after 15 or 60 seconds. Where trials
    were added to the study, they are added once."""
    out = tmp_path / "study"
    assert run("run", SMOKE, *SLOW, "--trials", "1", "--workers", "0", "--out", out)[0] == 0
    process = processes.start("resume", out, "--trials", "+3", "--workers", "1")
    until(new_checkpoints(out), process)
    started = descendants(process.pid)
    victim = next(pid for pid, program in started.items() if program == "raylet")
    os.kill(victim, signal.SIGKILL)
    code, _, complaints = finish(process)
    assert code == 0, complaints
    told = "cfsweep: Ray has failed, or one of its processes was killed (raylet: exit code -9"
    assert complaints.startswith(told), complaints
    assert complaints.endswith("; goes on by itself in 1 s (1 of at most 6 times without progress)\n")
    assert complaints.count("\n") == 1
    assert those_who_live_on(started, 20) == {}
    assert check_complete(out, 4).done == 4
    asked = {-2, -1, 0, 1}  # before anything else; for the rest a resumed sampler draws other numbers
    whole = tmp_path / "whole"
    assert run("run", SMOKE, *SLOW, "--trials", "1", "--workers", "0", "--out", whole)[0] == 0
    assert run("resume", whole, "--trials", "+1", "--workers", "0")[0] == 0
    assert results_of(out, asked) == results_of(whole, asked)


@pytest.mark.slow
def test_code_that_is_edited_meanwhile_is_run_by_no_worker(processes: Processes, tmp_path: Path) -> None:
    """The one that has the code of before goes on; when it dies, the sweep ends, and goes on with that code again."""
    out, own = tmp_path / "study", tmp_path / "edited_net.py"
    text = "from tests.sweeping.networks import normed as build\n"
    own.write_text(text)
    study = (
        "run",
        SMOKE,
        *SLOW,
        "--set",
        "network={name: edited_net:build}",
        "--trials",
        "3",
        "--workers",
        "1",
        "--out",
        out,
    )
    process = processes.start(*study, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    until(new_checkpoints(out), process)
    own.write_text(text + "# edited\n")
    workers = [pid for pid, program in descendants(process.pid).items() if "Trainable" in program]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    code, _, complaints = finish(process)
    assert code == 2, complaints
    assert "edited_net.py changed while the sweep ran, and a worker that began since would run what" in complaints
    own.write_text(text)
    process = processes.start(*study, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    assert finish(process)[0] == 0
    assert status(out).done == 3
