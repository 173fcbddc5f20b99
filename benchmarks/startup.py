"""From `cfsweep run` to the first training step, and from one pack to the next on a warm worker: what takes how long?

`python -m benchmarks.startup` runs the real command on a sweep of small packs, again and again, with stamps taken from
outside (benchmarks/timeline.py), and prints medians. `--before DIR` names a checkout of an earlier revision that takes
turns with this one. Seconds of processor time stand beside those of the clock: on a busy machine, look at them.
`--quick` runs a shorter sweep once, on the embedded digits; `--write` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks import timeline
from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section

HERE = Path(__file__).parent.parent
SWEEP = (  # by the names that earlier revisions know, too
    *("run", "search_spaces/smoke.yaml", "--workers", "2"),
    *("--set", "pack_runs=2", "--set", "early_stopping=false", "--set", "network.args.hidden=[256,256]"),
)
TRIALS, QUICK_TRIALS = ("--trials", "16"), ("--trials", "6")
STAGES = (
    "study read, data loaded",
    "Ray is up",
    "all workers have loaded torch and Tune",
    "first step, on the first worker",
    "first step, on every worker",
    "from the last report to the end of the command",
    "whole command",
    "processor time of the driver until the first step",
    "processor time of a worker until its first step",
)
GAP, LAST_GAP = "from a pack's last report to the next pack's first step", "the same, to its worker's being told of it"


Medians = tuple[dict[str, float], dict[str, float]]  # of the stages in seconds, of the gaps in milliseconds


@dataclass(frozen=True)
class Stamp:
    """What happened in which process, at which second, after how many seconds of processor time of that process."""

    what: str
    at: float
    pid: int
    cpu_s: float


def run(root: Path, arguments: Sequence[str]) -> tuple[list[Stamp], float, float]:
    """The stamps of one sweep by the code in `root`, in order, and when its command began and ended.

    Raises:
        RuntimeError: the sweep failed.
    """
    with tempfile.TemporaryDirectory(prefix="cfsweep-startup-") as scratch:
        shutil.copy(timeline.__file__, Path(scratch) / "sitecustomize.py")
        command = [sys.executable, "-m", "cfsweep.cli", *arguments, "--out", f"{scratch}/study"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([scratch, str(root)])}
        began = time.time()
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        ended = time.time()
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        lines = (Path(scratch) / "stamps").read_text().splitlines()
    return sorted((Stamp(**json.loads(line)) for line in lines), key=lambda stamp: stamp.at), began, ended


def stages(stamps: Sequence[Stamp], began: float, ended: float) -> dict[str, float]:
    """Seconds from the beginning of the command, by stage."""
    driver = next(stamp.pid for stamp in stamps if stamp.what == "prepare ends")
    workers = {stamp.pid for stamp in stamps if stamp.what == "PackTrainable.step begins"}
    firsts = [next(s for s in stamps if s.pid == pid and s.what == "TaskLoop.run begins") for pid in workers]
    loaded = [s.at for s in stamps if s.pid in workers and s.what.endswith(".trainable imported")]
    last_report = max(stamp.at for stamp in stamps if stamp.what == "PackTrainable.step ends")
    first = min(stamp.at for stamp in firsts)
    of_driver = [stamp for stamp in stamps if stamp.pid == driver]
    at = {stamp.what: stamp.at for stamp in reversed(of_driver)}
    values = (
        at["prepare ends"] - began,
        at["init ends"] - began,
        max(loaded) - began,
        first - began,
        max(stamp.at for stamp in firsts) - began,
        ended - last_report,
        ended - began,
        max(stamp.cpu_s for stamp in of_driver if stamp.at <= first),
        statistics.mean(stamp.cpu_s for stamp in firsts),
    )
    return dict(zip(STAGES, values, strict=True))


def gaps(stamps: Sequence[Stamp]) -> dict[str, list[float]]:
    """Milliseconds between two packs of one worker: until the later one's first step, and until it is told of it."""
    found: dict[str, list[float]] = {GAP: [], LAST_GAP: []}
    for pid in {stamp.pid for stamp in stamps if stamp.what == "PackTrainable.step begins"}:
        mine = [stamp for stamp in stamps if stamp.pid == pid]
        tellings = [i for i, stamp in enumerate(mine) if stamp.what == "PackTrainable.setup begins"]
        for told, until in pairwise([*tellings[1:], len(mine)]):  # the first pack is no later one
            report = max(s.at for s in mine[:told] if s.what == "PackTrainable.step ends")
            step = next((s.at for s in mine[told:until] if s.what == "TaskLoop.run begins"), None)
            if step is not None:
                found[GAP].append(1e3 * (step - report))
                found[LAST_GAP].append(1e3 * (mine[told].at - report))
    return found


def measure(roots: Sequence[Path], repeats: int, more: Sequence[str]) -> list[Medians]:
    """The medians of each checkout; the checkouts take turns."""
    runs: list[list[tuple[dict[str, float], dict[str, list[float]]]]] = [[] for _ in roots]
    for _ in range(repeats):
        for root, seen in zip(roots, runs, strict=True):
            stamps, began, ended = run(root, [*SWEEP, *more])
            seen.append((stages(stamps, began, ended), gaps(stamps)))
    return [
        (
            {stage: statistics.median(s[stage] for s, _ in seen) for stage in STAGES},
            {gap: statistics.median(ms for _, g in seen for ms in g[gap]) for gap in (GAP, LAST_GAP)},
        )
        for seen in runs
    ]


def table(measured: Sequence[Medians]) -> str:
    """Markdown; with two checkouts, the earlier one first, and the ratio."""
    rows = []
    for index, (names, unit) in enumerate(((STAGES, "s"), ((GAP, LAST_GAP), "ms"))):
        for name in names:
            values = [one[index][name] for one in measured]
            cells = [f"{value:.2f}" if unit == "s" else f"{value:.1f}" for value in values]
            ratio = [f"{values[1] / values[0]:.2f}"] if len(values) > 1 else []
            rows.append([f"{name}, {unit}", *cells, *ratio])
    return markdown_table(["", *(["before", "now", "ratio"] if len(measured) > 1 else ["now"])], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder with MNIST; without it, the embedded digits")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier revision")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    data = ["--stream", "split-mnist", "--data", str(Path(given.data).absolute())] if given.data else []
    roots = [*([given.before.absolute()] if given.before else []), HERE]
    text = table(measure(roots, 1, QUICK_TRIALS) if given.quick else measure(roots, given.repeats, [*TRIALS, *data]))
    print(text)
    if given.write:
        command = " ".join(
            ["python -m benchmarks.startup", *(f"--{k} DIR" for k in ("data", "before") if vars(given)[k])]
        )
        put_section(PERFORMANCE, "startup", f"{text}\n\n{measured_on(command)}")


if __name__ == "__main__":
    main()
