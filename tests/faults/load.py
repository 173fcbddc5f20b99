"""`python -m tests.faults.load`: thousands of short trials, during which something is killed again and again.

The driver, a worker, the broker, the raylet or the GCS, at random moments until the sweep is complete; a driver that is
gone is started again. Memory and files are counted all the time. In the end each run is there once, and a sample of
them is trained again alone. The last line is a JSON object, of which `python -m tests.faults --write` makes a
section of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import status
from cfsweep.sweeping.checking import check
from tests.faults.disturbed import ENDS_WITHIN_S, SMOKE, WORKER, send
from tests.faults.verdict import bits_as_alone, own_lines, rows_of
from tests.sweeping.command import Processes, descendants, finish
from tests.sweeping.ray_backend.scenarios import those_who_live_on

BROKER = "ray::StreamBroker"
VICTIMS: dict[str, str | tuple[str, ...]] = {
    "worker": WORKER,
    "broker": BROKER,
    "raylet": "raylet",
    "GCS": "gcs_server",
}
LOOK_EVERY_S, POINTS, SAMPLE = 2.0, 10, 40
LATEST_KILL_S = 60.0


class Load:
    """A sweep of so many trials, its own temporary folder, and what was seen of it."""

    def __init__(self, place: Path, trials: int, epochs: int, rng: random.Random) -> None:
        self.rng, self.out, self.trials = rng, place / "study", trials
        self.temporary = Path(tempfile.mkdtemp(prefix="l", dir="/tmp"))
        self.processes = Processes(place)
        self.study: tuple[str | Path, ...] = (
            *("run", SMOKE, "--trials", str(trials), "--pack", "4", "--workers", "2", "--out", self.out),
            *("--set", f"epochs={epochs}", "--set", "stop_trials=false"),
        )
        self.killed: Counter[str] = Counter()
        self.seen: list[dict[str, float]] = []
        self.begun: dict[int, str] = {}
        self.told: Counter[str] = Counter()
        self.ended: Counter[int] = Counter()  # by exit code, drivers that ended though nobody had killed them

    def run(self) -> None:
        """Until the sweep is complete."""
        began = time.monotonic()
        while True:
            process = self.processes.start(*self.study, TMPDIR=str(self.temporary))
            code, lines = self._one(process, began)
            if code == 0:
                return
            if code != -signal.SIGKILL:  # Ray was killed while it started: nothing that could go on by itself was there
                assert code in (1, 2), (code, lines)
                self.ended[code] += 1
                print(f"exit code {code}: {lines[-1]}", flush=True)

    def _one(self, process: subprocess.Popen[str], began: float) -> tuple[int, list[str]]:
        """One driver, to its end; its exit code, and what it complained of."""
        kill_at = time.monotonic() + self.rng.uniform(0.0, LATEST_KILL_S)
        reading = _Reading(process)
        while process.poll() is None:
            time.sleep(LOOK_EVERY_S)
            self._look(process.pid, time.monotonic() - began)
            if time.monotonic() > kill_at:
                self._kill(process)
                kill_at = time.monotonic() + self.rng.uniform(0.0, LATEST_KILL_S)
        code, lines = reading.end()
        for line in own_lines("\n".join(lines)):
            self.told[line.partition(" (")[0]] += 1
            assert line.startswith("cfsweep: "), lines
        return code, lines

    def _kill(self, process: subprocess.Popen[str]) -> None:
        victim = self.rng.choice(["driver", *VICTIMS])
        if victim == "driver":
            self.killed[victim] += send(process.pid, signal.SIGKILL)
            return
        found = [pid for pid, name in _tree(process.pid).items() if name.startswith(VICTIMS[victim])]
        if found:
            self.killed[victim] += send(self.rng.choice(found), signal.SIGKILL)

    def _look(self, driver: int, at_s: float) -> None:
        tree = _tree(driver)
        self.begun |= tree
        if not tree:
            return
        of_all = {pid: _resident(pid) for pid in (driver, *tree)}
        workers = [of_all[pid] for pid, name in tree.items() if name.startswith(WORKER)]
        brokers = [of_all[pid] for pid, name in tree.items() if name.startswith(BROKER)]
        self.seen.append(
            {
                "at_s": at_s,
                "driver_mb": of_all[driver],
                "worker_mb": max(workers, default=0.0),
                "broker_mb": max(brokers, default=0.0),
                "driver_files_open": _open_files(driver),
                "parts": sum(1 for _ in self.out.glob("runs/*.parquet")),
                "checkpoints": sum(1 for _ in self.out.glob("checkpoints/*")),
                "temporary": sum(1 for _ in _files(self.temporary)),
                "sessions": sum(1 for _ in self.temporary.glob("ray/session_2*")),
                "folder_mb": sum(map(_size, _files(self.out))) / 1e6,
            }
        )

    def end(self) -> dict[str, Any]:
        """Asserts that all is there, once and with the right bits; what was measured."""
        now, found = status(self.out), check(self.out)
        assert now.complete, now
        assert (found.findings, found.running) == ((), False)
        runs = rows_of(self.out, "runs")
        assert Counter(row["trial"] for row in runs) == Counter([MAJORITY_TRIAL, -2, -1, *range(self.trials)])
        assert {row["state"] for row in runs} == {"done"}
        cells = Counter((row["trial"], row["after_task"], row["eval_task"]) for row in rows_of(self.out, "accuracy"))
        assert set(cells.values()) == {1}
        assert len(cells) == len(runs) * 6 * 5
        trained = [row for row in runs if row["trial"] >= 0 and row["same_as"] is None]
        sample = self.rng.sample(trained, min(SAMPLE, len(trained)))
        bits_as_alone(self.out, sample)
        assert those_who_live_on(self.begun, ENDS_WITHIN_S) == {}
        left = list(_files(self.temporary))
        assert not left, left
        shutil.rmtree(self.temporary, ignore_errors=True)
        return {
            "trials": self.trials,
            "minutes": round(self.seen[-1]["at_s"] / 60, 1),
            "killed": dict(self.killed),
            "told": dict(self.told),
            "ended": sum(self.ended.values()),
            "most_attempts": max(row["attempt"] for row in runs),
            "retrained": len(sample),
            "seen": list(_tenths(self.seen)),
        }


class _Reading:
    """Keeps what a process prints from filling its pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.result: tuple[int, str, str] = (0, "", "")
        self.thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self.thread.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        self.result = finish(process, timeout_s=86_400)

    def end(self) -> tuple[int, list[str]]:
        self.thread.join()
        return self.result[0], self.result[2].splitlines()


def _tree(pid: int) -> dict[int, str]:
    try:
        return descendants(pid)
    except FileNotFoundError:
        return {}


def _resident(pid: int) -> float:
    """Megabytes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def _files(folder: Path) -> Iterator[Path]:
    """All below it; folders may go meanwhile."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tenths(seen: list[dict[str, float]]) -> Iterator[dict[str, float]]:
    """The greatest of each count in each tenth of the time."""
    for k in range(POINTS):
        part = seen[len(seen) * k // POINTS : len(seen) * (k + 1) // POINTS]
        if part:
            yield {name: round(max(one[name] for one in part), 1) for name in seen[0]}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.faults.load", description=__doc__)
    asked.add_argument("--trials", type=int, default=2000)
    asked.add_argument("--epochs", type=int, default=75, help="of each task: how long a trial takes")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked.add_argument("--record", type=Path, help="a file for the JSON object, too")
    given = asked.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cfsweep-load-") as place:
        load = Load(Path(place), given.trials, given.epochs, random.Random(given.seed))
        try:
            load.run()
            found = {**load.end(), "seed": given.seed, "epochs": given.epochs}
        finally:
            load.processes.end()
    text = json.dumps(found)
    print(text)
    if given.record:
        given.record.write_text(text)


if __name__ == "__main__":
    main()
