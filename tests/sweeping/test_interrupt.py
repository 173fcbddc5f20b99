"""The first signal asks, the second insists; each is told."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from cfsweep.sweeping.interrupt import SAID, SAID_AT_ONCE, interruptible
from tests.sweeping.command import Processes, finish, until
from tests.sweeping.in_process import Sweep, tiny

SMOKE = Path(__file__).parents[2] / "search_spaces" / "smoke.yaml"
EVERY = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", EVERY)
def test_the_first_signal_asks_and_the_second_insists(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with interruptible() as event, interruptible(event) as same:
        assert same is event
        os.kill(os.getpid(), number)
        assert event.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == SAID.decode(), "once"


@pytest.mark.parametrize("number", EVERY)
def test_where_nothing_has_begun_the_first_one_ends_it(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with interruptible(at_once=True) as event:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert event.is_set()
    assert capfd.readouterr().err == SAID_AT_ONCE.decode()


def test_what_nohup_has_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as event:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not event.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_signals_are_nobodys_business() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with interruptible() as event:
            found.extend([signal.getsignal(signal.SIGINT), event.is_set()])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before, False]


def test_a_second_signal_keeps_what_was_finished_before(sweep: Sweep) -> None:
    """What is not yet in the folder is written before the process ends."""
    driver = sweep.open(tiny(trials=2, pack_runs=1), workers=1, now=lambda: 0.0)

    def interrupts(pack_id: str, pack: object, driver: object) -> None:
        if pack_id.endswith("1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.train(driver, interrupts)
    assert [row["trial"] for row in sweep.rows()] == [0]


# ------------------------------------------------------------------------------------------------ by the command

INTERRUPTED = "cfsweep: interrupted; the same command begins anew, or goes on with what it has kept\n"


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGHUP)])
def test_a_signal_while_it_prepares_is_heeded_at_once_and_told(
    numbers: tuple[signal.Signals, ...], processes: Processes, tmp_path: Path
) -> None:
    """Neither is any a traceback, whatever comes while it ends."""
    (tmp_path / "slow.py").write_text(
        "import time, pathlib\ndef build(*a, **k):\n    pathlib.Path('here').touch()\n    time.sleep(100)\n"
    )
    process = processes.start(
        "run", SMOKE, "--set", "network.name=slow:build", "--set", "network.args={}", "--workers", "0", cwd=tmp_path
    )
    until((tmp_path / "here").exists, process)
    for number in numbers:
        process.send_signal(number)
    code, _, complaints = finish(process, 60)
    assert (code, complaints) == (130, INTERRUPTED)
    assert not (tmp_path / "runs").exists()


BESIDE = """
import threading, time
from cfsweep.sweeping.ray_backend import cluster
cluster.connect = lambda workers: (print("here", flush=True), time.sleep(100))
from cfsweep.library import sweeps
sweeps.described = lambda *_: time.sleep(100)
from cfsweep import cli
cli.main()
"""


def test_nobody_waits_for_what_is_done_while_ray_starts(processes: Processes, tmp_path: Path) -> None:
    process = processes.start("run", SMOKE, program=("-c", BESIDE), cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    code, _, complaints = finish(process, 60)
    assert (code, complaints) == (130, SAID_AT_ONCE.decode() + INTERRUPTED)
