"""The same EWC sweep through Ray Tune, Avalanche, Optuna and cfsweep, in turns: trials per hour, and the same answers?

`python -m benchmarks.peers --data DIR` measures on split-mnist, for about forty minutes on two quiet cores.
Avalanche is no dependency of cfsweep: `make avalanche` puts it into an environment of its own, which is found beside
the one that runs this, or wherever `--avalanche-python` says. Without it the comparison says so and goes on. `--quick`
takes the embedded digits, a small network and a handful of trials: that it runs, not what it measures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.page import PERFORMANCE, measured_on, put_section
from benchmarks.peers import ours
from benchmarks.peers.job import Job, read_records, write_tasks
from benchmarks.peers.processes import watched
from benchmarks.peers.report import (
    AGREEMENT_HEADINGS,
    PEERS,
    RATE_HEADINGS,
    REACHED_HEADINGS,
    TIME_HEADINGS,
    Results,
    Setting,
    agreement_rows,
    named,
    rate_rows,
    reached_rows,
    section,
    time_rows,
)
from benchmarks.peers.summary import Measured, Swept, agreement
from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream

ROOT = Path(__file__).parent.parent.parent
AVALANCHE_PYTHON = Path(f"{sys.prefix}-avalanche/bin/python")
JOB = Job("", "", 0, 2, 0, (10.0, 1e3, 1e4, 1e5), 1.0, 1e6, 5, 64, (256, 256), 1e-3, 200)
FULL = Setting("split-mnist", JOB, {"a": 64, "b": 16, "c": 64, "d": 64, "e": 64}, 64)
QUICK = Setting(
    "split-digits",
    replace(JOB, epochs=1, hidden=(16,), first=(10.0, 1e3), ewc_examples=20),
    {"a": 2, "b": 2, "c": 2, "d": 4, "e": 4},
    4,
)
FLOOR_REPEATS = 200
# One thread for each of two workers on two cores; what would steer a peer otherwise is taken away.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
STEERS = ("MKL_", "MALLOC_", "RAY_", "TUNE_", "CFSWEEP_")


def environment() -> dict[str, str]:
    """What every peer's process finds in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERS)}
    return {**kept, **THREADS, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def avalanche_absent(python: Path) -> str:
    """Why (b) cannot run with this Python, or nothing if it can."""
    if not python.exists():
        return f"there is no {python.name} of an environment with Avalanche; `make avalanche` makes one"
    command = [str(python), "-W", "ignore", "-c", "import avalanche, ray, optuna; print(avalanche.__version__)"]
    found = subprocess.run(command, env=environment(), capture_output=True, text=True)
    reason = (found.stderr.strip().splitlines() or [""])[-1]
    return f"Avalanche does not import there ({reason})" if found.returncode else ""


def measure(peer: str, setting: Setting, job: Job, folder: Path, data: str | None, python: Path) -> Measured:
    """One sweep of one peer, in an empty `folder`."""
    folder.mkdir(parents=True)
    job = replace(job, trials=setting.trials[peer], records=str(folder / "records.json"))
    job_file, out = folder / "job.json", folder / "study"
    job.write(job_file)
    if peer in "de":
        ours.write_space(folder / "ewc.yaml", job)
        more = ours.WITHOUT if peer == "d" else ()
        usage = watched(ours.command(folder / "ewc.yaml", setting.stream, data, job, out, more), environment(), folder)
        return Measured(ours.swept(out), usage)
    commands = {
        "a": [sys.executable, "-m", "benchmarks.peers.ray_tune", str(job_file), "textbook"],
        "b": [str(python), "-m", "benchmarks.peers.ray_tune", str(job_file), "avalanche"],
        "c": [sys.executable, "-m", "benchmarks.peers.plain_optuna", str(job_file)],
    }
    usage = watched(commands[peer], environment(), folder)
    return Measured(Swept.of(read_records(job.records)), usage)


def compare(
    setting: Setting, stream: Stream, repeats: int, data: str | None, python: Path, console: Console
) -> Results:
    """All peers in turns, `repeats` times, and the same λ in each."""
    results = Results(load=os.getloadavg()[0])
    if absent := avalanche_absent(python):
        results.absent["b"] = absent
    peers = [peer for peer in PEERS if peer not in results.absent]
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        job = replace(setting.job, tasks=str(Path(scratch) / "tasks.npz"))
        write_tasks(Path(job.tasks), ours.tasks_of(stream))
        for repeat in range(repeats):
            for peer in peers if repeat % 2 == 0 else reversed(peers):
                folder = Path(scratch) / f"{peer}{repeat}"
                measured = measure(peer, setting, replace(job, seed=repeat), folder, data, python)
                results.measured.setdefault(peer, []).append(measured)
                rate = measured.per_hour(setting.rate_trials)
                console.print(f"repeat {repeat + 1}: {named(peer)}: {rate:.0f} trials/hour", highlight=False)
        records = {
            peer: [each for r in range(repeats) for each in read_records(Path(scratch) / f"{peer}{r}" / "records.json")]
            for peer in peers
            if peer in "abc"
        }
    results.agreement = agreement(records, ours.given(stream, job, range(repeats)))
    results.floor_s = ours.floor_s(stream, setting.job, FLOOR_REPEATS)
    return results


def show(results: Results, setting: Setting, console: Console) -> None:
    """Prints the tables."""
    for headings, rows in (
        (RATE_HEADINGS, rate_rows(results, setting)),
        (TIME_HEADINGS, time_rows(results, setting.job.workers)),
        (REACHED_HEADINGS, reached_rows(results)),
        (AGREEMENT_HEADINGS, agreement_rows(results.agreement)),
    ):
        table = Table()
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="right" if number else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"floor: {results.floor_s:.2f} s a trial for its matrix products and Adam's updates", highlight=False)
    for peer, why in results.absent.items():
        console.print(f"{named(peer)} was not measured: {why}", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--avalanche-python", type=Path, default=AVALANCHE_PYTHON, help="see `make avalanche`")
    parser.add_argument("--quick", action="store_true", help="the embedded digits, one epoch, a handful of trials")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PERFORMANCE.name}")
    given = parser.parse_args(arguments)
    setting, console = (QUICK if given.quick else FULL), Console(width=200)
    stream = load_stream(StreamConfig(name=setting.stream, data=given.data))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = compare(setting, stream, given.repeats, given.data, given.avalanche_python, console)
    finally:
        torch.set_num_threads(threads)
    show(results, setting, console)
    if given.write:
        command = f"python -m benchmarks.peers --repeats {given.repeats}{' --quick' if given.quick else ''}"
        put_section(PERFORMANCE, "peers", section(results, setting, measured_on(command)))
