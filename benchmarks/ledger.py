"""What the ledger of a results folder costs: a commit with it and without, and reading many parts with and without.

`python -m benchmarks.ledger` writes made-up results into two folders in turns and prints medians and their ratio. On a
machine that others use, look at the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from cfsweep.results.ledger import LEDGER, begin_ledger
from cfsweep.results.reader import read_table
from cfsweep.results.schema import ACCURACY_SCHEMA, BUFFERS_SCHEMA, CURVES_SCHEMA
from cfsweep.results.writer import PendingRows

RUNS, TASKS = 8, 5  # of a commit, as a pack has them
SCHEMAS = {"accuracy": ACCURACY_SCHEMA, "curves": CURVES_SCHEMA, "buffers": BUFFERS_SCHEMA, "runs": ACCURACY_SCHEMA}


def rows(commit: int) -> dict[str, list[dict[str, object]]]:
    """The rows of a commit, by table."""
    cells = [
        {"study_id": "s", "trial": commit, "seed": seed, "attempt": 1, "after_task": after, "eval_task": task}
        | {"accuracy": (seed + after + task) / 20, "n_examples": 72}
        for seed in range(RUNS)
        for after in range(-1, TASKS)
        for task in range(TASKS)
    ]
    return {"accuracy": cells, "runs": cells[:: TASKS * (TASKS + 1)]}


def seconds(folders: dict[bool, PendingRows], commits: int) -> dict[bool, list[float]]:
    """Of each commit, with the ledger (True) and without, in turns."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for commit in range(commits):
        for ledger, pending in folders.items():
            pending.add(f"pack{commit:06d}", rows(commit))
            began = time.perf_counter()
            pending.write()
            found[ledger].append(time.perf_counter() - began)
    return found


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=1000, help="the parts of a table are as many (default: 1000)")
    parser.add_argument("--repeats", type=int, default=5, help="of reading (default: 5)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cfsweep-") as folder:
        roots = {True: Path(folder) / "with", False: Path(folder) / "without"}
        written = seconds(
            {
                True: PendingRows(roots[True], SCHEMAS, begin_ledger(roots[True], "s")),
                False: PendingRows(roots[False], SCHEMAS),
            },
            given.commits,
        )
        size = (roots[True] / LEDGER).stat().st_size
        read: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(given.repeats):
            for ledger, root in roots.items():
                began = time.perf_counter()
                read_table(root, "accuracy")
                read[ledger].append(time.perf_counter() - began)
    for what, of in (("a commit of two parts", written), (f"reading {given.commits} parts", read)):
        one, other = (1000 * statistics.median(of[ledger]) for ledger in (True, False))
        print(f"{what}: {one:.2f} ms with the ledger, {other:.2f} ms without, ratio {one / other:.2f}")
    print(f"ledger: {size / given.commits:.0f} bytes a commit")


if __name__ == "__main__":
    main()
