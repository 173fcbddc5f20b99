"""A worker, or a process of Ray's, is killed or stopped, or has no memory left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import STUDY, WORKER, Disturbed, send
from tests.faults.test_disk import SmallDisk
from tests.faults.verdict import own_lines, rows_of, told
from tests.sweeping.command import finish

GOES_ON = r"; goes on by itself in \d+ s \(\d of at most 6 times without progress\)"
FAILED = "(has failed, or one of its processes was killed|cannot start on this machine)"
RAY_FAILED = rf"cfsweep: Ray {FAILED} \(.*\)" + GOES_ON
PROCESSES = {"raylet": "raylet", "GCS": "gcs_server", "broker": "ray::StreamBroker"}
DIED = "a worker died ({} so far); another one goes on from its last checkpoint"
HUNG = "a worker said and saved nothing for too long, and was killed (1 so far)"
# Begins the command line where /dev/shm is of 200 MB, and seen by nobody else.
OWN_SHARED_MEMORY = """
import os, sys
mounted = 'mount -t tmpfs -o size=200m tmpfs /dev/shm && exec "$@"'
command = [sys.executable, "-m", "cfsweep.cli", *sys.argv[1:]]
os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mounted, "sh", *command])
"""
pytestmark = pytest.mark.slow


@pytest.mark.fault(
    "a worker is killed, several times", "another one goes on from its last checkpoint; the panel says so"
)
def test_a_worker_is_killed(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    while measured.faults < 3:
        disturbed.moment(process, latest=2, earliest=min(1, measured.faults))  # later ones might find it complete
        measured.faults += send(disturbed.one(process, WORKER), signal.SIGKILL)
    code, printed, complaints = finish(process)
    assert DIED.format(1) in printed
    measured.told = [DIED.format(1)]
    assert ends.whole((code, printed, complaints)) == ""


@pytest.mark.fault("the {} is killed", "the sweep says so, restarts Ray, and goes on from the last checkpoints")
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_of_rays_is_killed(name: str, disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    for _ in range(disturbed.rng.randint(1, 2)):
        disturbed.moment(process, latest=4, earliest=1)
        measured.faults += send(disturbed.one(process, PROCESSES[name]), signal.SIGKILL)
    complaints = ends.whole(finish(process))
    told(complaints, *[RAY_FAILED] * measured.faults)
    measured.told = own_lines(complaints)[:1]


@pytest.mark.fault("a worker is stopped for 20 s (SIGSTOP), and goes on", "nothing is lost, and nothing trained twice")
def test_a_worker_is_stopped_for_a_while(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    pid = disturbed.one(process, WORKER)
    send(pid, signal.SIGSTOP)
    time.sleep(20)
    measured.faults = send(pid, signal.SIGCONT)
    code, printed, complaints = finish(process)
    assert ends.whole((code, printed, complaints)) == ""
    assert DIED.format(1) not in printed, "another one has trained its packs"
    assert {row["attempt"] for row in rows_of(disturbed.out, "runs")} == {1}


@pytest.mark.fault("the {} is stopped for 20 s (SIGSTOP), and goes on", "so does the sweep, by itself")
@pytest.mark.parametrize("name", ["driver", *PROCESSES])
def test_one_of_the_others_is_stopped_for_a_while(
    name: str, disturbed: Disturbed, ends: Ends, measured: Measured
) -> None:
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    pid = process.pid if name == "driver" else disturbed.one(process, PROCESSES[name])
    send(pid, signal.SIGSTOP)
    time.sleep(20)
    measured.faults = send(pid, signal.SIGCONT)
    assert ends.whole(finish(process)) == ""


@pytest.mark.fault(
    "workers are killed as soon as they train, 15 times",
    "others go on; runs that none of three has brought on fail (exit code 3), and `resume` trains them again",
)
def test_workers_are_killed_without_end(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    disturbed.moment(process, latest=2)
    while measured.faults < 15 and process.poll() is None:
        measured.faults += send(disturbed.one(process, WORKER), signal.SIGKILL)
        time.sleep(disturbed.rng.uniform(0.0, 1.0))
    code, printed, complaints = finish(process)
    assert (code, complaints) in ((0, ""), (3, "")), (printed, complaints)
    assert ends.whole((code, printed, complaints) if code == 0 else None, attempts=2) == ""


@pytest.mark.fault("the shared memory (/dev/shm) is full", "the sweep goes on, or says why not; `resume` goes on")
def test_full_shared_memory(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    """It is one of its own, of a tenth of what Ray would have."""
    line = (*STUDY, "--workers", "2", "--out", disturbed.out)
    process = disturbed.processes.start(*line, program=("-c", OWN_SHARED_MEMORY), TMPDIR=str(disturbed.temporary))
    disturbed.moment(process)
    SmallDisk(Path(f"/proc/{process.pid}/root/dev/shm")).fill()
    measured.faults = 1
    code, printed, complaints = finish(process)
    assert code in (0, 2), (printed, complaints)
    measured.told = own_lines(complaints)[:1]
    ended = [r"cfsweep: (?!.*goes on by itself).*"] * (code > 0)
    told(complaints, *[r"cfsweep: .*" + GOES_ON] * (len(own_lines(complaints)) - len(ended)), *ended)
    assert ends.whole() == ""


@pytest.mark.fault("a worker hangs (SIGSTOP), with `--hang-after`", "it is killed, and another one goes on")
@pytest.mark.parametrize("title", WORKER, ids=["between two tasks or packs", "while it trains"])
def test_a_worker_hangs(title: str, disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start("--hang-after", "15")
    disturbed.moment(process, latest=3, earliest=1)  # one that has no pack left hangs unnoticed, as nobody needs it
    measured.faults = send(disturbed.one(process, title), signal.SIGSTOP)
    code, printed, complaints = finish(process)
    assert HUNG in printed
    measured.told = [HUNG]
    assert ends.whole((code, printed, complaints)) == ""


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A group of processes whose memory the kernel bounds, by the first or the second version of its groups."""
    first = Path("/sys/fs/cgroup/memory")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"cfsweep-{os.getpid()}"
    try:
        group.mkdir()
        _bound(group)
    except OSError as error:
        pytest.skip(f"this machine lets no group of processes be made whose memory is bounded ({error})")
    yield group
    for pid in (group / "cgroup.procs").read_text().split():
        send(int(pid), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)


def _bound(group: Path) -> None:
    first = group / "memory.limit_in_bytes"
    (first if first.exists() else group / "memory.max").write_text(str(100 * 2**20))


def _killed_in(group: Path) -> int:
    """How many processes the kernel has killed there for want of memory."""
    known = next(path for name in ("memory.oom_control", "memory.events") if (path := group / name).exists())
    return int(dict(line.split() for line in known.read_text().splitlines())["oom_kill"])


@pytest.mark.fault("a worker takes all memory, and the kernel kills it", "as where a worker is killed")
def test_a_worker_is_out_of_memory(disturbed: Disturbed, ends: Ends, measured: Measured, memory: Path) -> None:
    """It is put among bounded processes together with one that takes more than there is, and is the one to go."""
    process = disturbed.start()
    disturbed.moment(process, latest=4, earliest=1)
    worker = disturbed.one(process, WORKER)
    Path(f"/proc/{worker}/oom_score_adj").write_text("1000")
    (memory / "cgroup.procs").write_text(str(worker))
    takes = f"open('{memory}/cgroup.procs', 'w').write('0'); bytearray(b'x') * 2**28"
    subprocess.run([sys.executable, "-c", takes], check=False)
    assert _killed_in(memory) >= 1
    measured.faults = 1
    code, printed, complaints = finish(process)
    assert DIED.format(1) in printed
    measured.told = [DIED.format(1)]
    assert ends.whole((code, printed, complaints)) == ""
