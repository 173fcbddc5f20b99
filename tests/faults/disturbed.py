"""A sweep of real processes that something happens to at a random moment."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.sweeping.command import ROOT, Processes, descendants, finish

# Near half a second for a task of a pack of two: six packs of five tasks, and their first tasks are shared.
SMOKE = ROOT / "search_spaces" / "smoke.yaml"
TRIALS, SEEDS = 4, 2
STUDY = (
    *("run", SMOKE, "--trials", str(TRIALS), "--seeds", str(SEEDS), "--pack", "2"),
    *("--set", "epochs=40", "--set", "stop_trials=false", "--set", "curve_points_per_task=2"),
)
LATEST = 8  # after so many saved tasks there is still something left to train
PATIENCE_S = 120.0
ENDS_WITHIN_S = 80.0  # after its driver: what Ray was about to start waits for its GCS for up to 70 s
WORKER = ("ray::PackTrainable", "ray::ResourceTrainable")  # as Ray calls it between two tasks, and while it trains


class Disturbed:
    """The study in `out`; its processes have a folder `temporary` of their own for what is temporary.

    `begun` are all processes that were seen, by id, with the names of their programs."""

    def __init__(self, processes: Processes, folder: Path, temporary: Path, rng: random.Random) -> None:
        self.processes, self.out, self.temporary, self.rng = processes, folder / "study", temporary, rng
        self.begun: dict[int, str] = {}
        self.settings: tuple[str, ...] = ()  # of the study, beside those that all have

    def start(self, *options: str | Path, workers: int = 2, **environment: str) -> subprocess.Popen[str]:
        """Begins the study, or goes on with it: by the same command, as one can that does not know how far it came."""
        line = (*STUDY, *self.settings, "--workers", str(workers), "--out", self.out, *options)
        return self.processes.start(*line, TMPDIR=str(self.temporary), **environment)

    def moment(self, process: subprocess.Popen[str], latest: int = LATEST, earliest: int = 0) -> None:
        """Waits for a random one: so many tasks have been saved since now, and up to half a second more."""
        wanted, seen, deadline = (
            self.rng.randint(earliest, latest),
            set[tuple[str, int]](),
            time.monotonic() + PATIENCE_S,
        )
        before = self._saved()
        while len(seen) < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"{len(seen)} tasks were saved"
            seen |= self._saved() - before
            time.sleep(0.02)
        time.sleep(self.rng.uniform(0.0, 0.5 if wanted else 5.0))
        self.look(process)

    def look(self, process: subprocess.Popen[str]) -> dict[int, str]:
        """What it has started that lives now."""
        with contextlib.suppress(FileNotFoundError):
            now = descendants(process.pid)
            self.begun |= now
            return now
        return {}

    def of_its_folder(self) -> dict[int, str]:
        """All processes whose environment, or a word of whose command, has its temporary folder; those of commands too
        that nobody has looked at while they ran."""
        found, folder = {}, str(self.temporary).encode()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes() + b"\0" + (path / "environ").read_bytes()
                if folder in words:
                    found[int(path.name)] = words.partition(b"\0")[0].decode(errors="replace").rpartition("/")[2]
        return found

    def those(self, process: subprocess.Popen[str], program: str | tuple[str, ...]) -> list[int]:
        """The ids of its processes of this name that live now."""
        return sorted(pid for pid, name in self.look(process).items() if name.startswith(program))

    def one(self, process: subprocess.Popen[str], program: str | tuple[str, ...]) -> int:
        """The id of one of its processes of this name, waiting until there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if found := self.those(process, program):
                return self.rng.choice(found)
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"no {program}"
            time.sleep(0.02)

    def undisturbed(self, *options: str | Path, workers: int = 2) -> tuple[int, str, str]:
        """How the command ends that goes on with it: `resume`, or `run` again."""
        if self.rng.random() < 0.5 or not (self.out / "study.yaml").exists():
            return finish(self.start(*options, workers=workers))
        line = ("resume", self.out, "--workers", str(workers), *options)
        return finish(self.processes.start(*line, TMPDIR=str(self.temporary)))

    def _saved(self) -> set[tuple[str, int]]:
        found = set()
        for path in (self.out / "checkpoints").glob("pack*.pt"):
            with contextlib.suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found


def send(pid: int, number: signal.Signals) -> bool:
    """Whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
