"""A sweep whose Ray dies ends by one line; and one that dies takes its Ray with it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from cfsweep.results.reader import read_table
from cfsweep.sweeping.ray_backend.deaths import died
from tests.conftest import Run
from tests.sweeping.command import Processes, descendants, finish, new_checkpoints, until
from tests.sweeping.ray_backend.scenarios import SLOW, SMOKE, those_who_live_on
from tests.sweeping.ray_backend.test_sweeps import check_complete

TOLD = "cfsweep: Ray has failed, or one of its processes was killed ({}). `cfsweep resume` goes on; see that there is "


def test_what_rays_own_processes_come_to_is_one_line() -> None:
    for error in (ray.exceptions.RayActorError(), ray.exceptions.RaySystemError("gone"), RuntimeError("2 were killed")):
        line = str(died(error))
        assert line.startswith("Ray has failed, or one of its processes was killed (")
        assert "`cfsweep resume` goes on" in line
        assert "\n" not in line


# ------------------------------------------------------------------------------------------------ without Ray

# A process that would go on for long, or raise an error of its own, but one of Ray's dies meanwhile.
DIES = """
import threading, time
from cfsweep.sweeping.ray_backend import deaths
deaths.GRACE_S = 1.0
dead, interrupt = {{}}, threading.Event()
deaths.dead_processes = lambda: dead
try:
    with deaths.ends_with_ray(interrupt):
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


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_sweep_whose_ray_was_killed_says_so_and_goes_on(
    name: str, processes: Processes, run: Run, tmp_path: Path
) -> None:
    """Left alone, Ray's library would end it with exit code 1 and a line of C++, after 15 or 60 seconds."""
    out = tmp_path / "study"
    process = processes.start("run", SMOKE, *SLOW, "--workers", "1", "--out", out)
    until(new_checkpoints(out), process)
    started = descendants(process.pid)
    (victim,) = (pid for pid, program in started.items() if program == name)
    os.kill(victim, signal.SIGKILL)
    code, _, complaints = finish(process, 30)
    assert code == 2
    assert complaints.startswith(TOLD.format(f"{name}: exit code -9"))
    assert complaints.count("\n") == 1
    assert those_who_live_on(started, 20) == {}
    if name == "gcs_server":  # the rest is the same
        return

    asked = {-2, -1, 0}  # before anything else; for the rest a resumed sampler draws other numbers
    assert run("resume", out, "--workers", "0")[0] == 0
    assert check_complete(out, 4).done == 4
    whole = tmp_path / "whole"
    assert run("run", SMOKE, *SLOW, "--trials", "1", "--workers", "0", "--out", whole)[0] == 0
    assert results_of(out, asked) == results_of(whole, asked)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_is_left_of_a_sweep_that_was_ended(number: signal.Signals, processes: Processes, tmp_path: Path) -> None:
    out = tmp_path / "study"
    process = processes.start("run", SMOKE, *SLOW, "--workers", "2", "--out", out)
    until(new_checkpoints(out), process)
    started = descendants(process.pid)
    assert {"raylet", "gcs_server"} <= set(started.values())
    process.send_signal(number)
    code, _, complaints = finish(process, 30)
    assert (code, complaints) == (-9 if number == signal.SIGKILL else 130, "")
    assert those_who_live_on(started, 20) == {}
