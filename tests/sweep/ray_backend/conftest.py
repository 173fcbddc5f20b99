"""A sweep on Ray that is terminated in the middle, of which several tests look at something."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# A quarter of a second or more for a task of a pack: long enough to be interrupted in the middle.
SLOW = ("--set", "epochs=25", "--set", "stop_trials=false", "--set", "pack_runs=2", "--trials", "4")

Start = Callable[..., "subprocess.Popen[str]"]


def finish(process: subprocess.Popen[str], timeout_s: float = 90) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def until(condition: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 60) -> None:
    """Waits for the condition while the process lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def new_checkpoints(folder: Path) -> Callable[[], bool]:
    """Whether a pack has finished a task since this was called."""
    began = time.time_ns()

    def any_new() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_mtime_ns > began for path in (folder / "checkpoints").glob("pack*.pt"))
        return False

    return any_new


@dataclass(frozen=True)
class Terminated:
    """How the sweep in `out` ended after SIGTERM; which processes its driver had started; and what each of its two
    workers tells (see `tests.sweep.networks.telling`)."""

    out: Path
    code: int
    printed: str
    complaints: str
    seconds_to_end: float
    children: list[str]
    workers: list[dict[str, Any]]


@pytest.fixture(scope="session")
def terminated(start: Start, smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Terminated:
    out = tmp_path_factory.mktemp("terminated") / "study"
    log = out.with_name("told")
    network = ("--set", "network.name=tests.sweep.networks:telling", "--set", f"network.args.log={log}")
    process = start("run", smoke, *SLOW, *network, "--workers", "2", "--out", out)

    def told() -> dict[int, dict[str, Any]]:
        tellings = map(json.loads, log.read_text().splitlines() if log.exists() else ())
        return {telling["pid"]: telling for telling in tellings if telling["pid"] != process.pid}

    any_new = new_checkpoints(out)
    until(lambda: any_new() and len(told()) == 2, process)
    begun = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    children = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in begun]
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    ended = finish(process, 30)
    return Terminated(out, *ended, time.monotonic() - sent, children, list(told().values()))
