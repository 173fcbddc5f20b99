"""The process that drives a sweep is killed or interrupted."""

from __future__ import annotations

import os
import signal
import time

import pytest

from cfsweep.cli import INTERRUPTED
from cfsweep.sweeping.interrupt import SAID, SAID_AT_ONCE
from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed, send, wait_for
from tests.sweeping.command import finish
from tests.sweeping.ray_backend.scenarios import those_who_live_on

pytestmark = pytest.mark.slow
TWICE = {f"{SAID.decode()}cfsweep: {INTERRUPTED}\n", SAID.decode(), (SAID + SAID_AT_ONCE).decode()}
WORDS = {SAID.decode(), SAID_AT_ONCE.decode(), (SAID + SAID_AT_ONCE).decode()}


@pytest.mark.fault(
    "the driver is killed (SIGKILL), several times", "`run` or `resume` goes on from the last checkpoints"
)
def test_the_driver_is_killed(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    for _ in range(disturbed.rng.randint(2, 3)):  # a fourth might find it complete
        process = disturbed.start()
        disturbed.moment(process, latest=4)
        process.kill()
        assert finish(process)[::2] == (-signal.SIGKILL, "")
        assert those_who_live_on(disturbed.begun, ends.patience_s) == {}
        measured.faults += 1
    assert ends.whole() == ""


@pytest.mark.fault(
    "the driver and all that it started are killed", "`run` or `resume` goes on from the last checkpoints"
)
def test_all_are_killed(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    for _ in range(2):
        process = disturbed.start()
        disturbed.moment(process, latest=4)
        for pid in (process.pid, *disturbed.look(process)):
            send(pid, signal.SIGKILL)
        finish(process)
        measured.faults += 1
    assert ends.whole() == ""


@pytest.mark.fault(
    "SIGTERM, SIGINT (Ctrl-C) or SIGHUP", "one line, exit code 130, what is finished is kept; `resume` goes on"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_the_driver_is_interrupted(
    number: signal.Signals, disturbed: Disturbed, ends: Ends, measured: Measured
) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # `nohup` has it ignored, here and in all that is started
    process = disturbed.start()
    signal.signal(number, before)
    wait_for((disturbed.out / ".lock").exists)
    disturbed.moment(process)
    process.send_signal(number)
    code, _, complaints = finish(process)
    assert code == 130
    assert complaints in WORDS
    assert those_who_live_on(disturbed.begun, ends.patience_s) == {}
    measured.faults, measured.told = 1, [complaints.strip()]
    assert ends.whole() == ""


@pytest.mark.fault("two SIGINT (Ctrl-C) within half a second", "one line, exit code 130, at once; `resume` goes on")
def test_the_driver_is_interrupted_twice(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(disturbed.rng.uniform(0.0, 0.5))
    code, _, complaints = finish(process)
    assert code == 130
    assert complaints in TWICE, complaints
    assert those_who_live_on(disturbed.begun, ends.patience_s) == {}
    measured.faults, measured.told = 1, [complaints.splitlines()[-1]]
    assert ends.whole() == ""


@pytest.mark.fault("everything stands still for 20 s (SIGSTOP: a machine that sleeps)", "it goes on by itself")
def test_all_are_stopped_for_a_while(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    all_of_them = (process.pid, *disturbed.look(process))
    for pid in all_of_them:
        send(pid, signal.SIGSTOP)
    time.sleep(20)
    for pid in reversed(all_of_them):
        send(pid, signal.SIGCONT)
    measured.faults = 1
    assert ends.whole(finish(process)) == ""


@pytest.mark.fault("a second driver on the same study", "it is refused by one line, exit code 2; the first goes on")
def test_a_second_driver(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    disturbed.settings = ("--set", "epochs=120")  # until the second one has started
    process = disturbed.start()
    disturbed.moment(process, latest=4, earliest=1)
    code, _, complaints = finish(disturbed.start(workers=0))
    assert code == 2
    assert complaints.startswith(f"cfsweep: {disturbed.out}: another cfsweep is writing to this study")
    assert complaints.count("\n") == 1
    measured.faults, measured.told = 1, [complaints.strip()]
    assert ends.whole(finish(process)) == ""


@pytest.mark.fault("locks and half-written files of dead processes lie in the folder", "they are in nobody's way")
def test_stale_locks(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    process.kill()
    finish(process)
    out = disturbed.out
    assert (out / ".lock").exists(), "of the driver that was killed"
    (out / "journal.jsonl.lock").touch()
    (out / "journal.jsonl.lock0123456789abcdef.rename").touch()
    (out / "runs").mkdir(exist_ok=True)
    for name in (".study.yaml.x1.tmp", ".commits.jsonl.x1.tmp", "runs/.pack000000.parquet.x1.tmp"):
        (out / name).write_bytes(os.urandom(100))
    measured.faults = 6
    assert ends.whole() == ""
