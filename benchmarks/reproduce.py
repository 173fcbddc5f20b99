"""Runs the published tables with cfsweep itself, and writes claimed beside measured.

`python -m benchmarks.reproduce --data DIR` trains every stage of every row that is not yet complete below --out, and
writes docs/reproduction.parquet and, from it alone, docs/reproduction.md. It may be interrupted at any point; run
again, it goes on. `--only 'split-mnist/ewc*'` trains a part; the page then holds what there is, and says what is
missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from benchmarks.reproduction import (
    head_to_head,
    mnist_fashion,
    mnist_halves,
    records,
    remedies,
    split_mnist,
    van_de_ven,
)
from benchmarks.reproduction.model import Table
from benchmarks.reproduction.report import report
from benchmarks.reproduction.runner import run
from benchmarks.reproduction.stages import Job, jobs_of
from cfsweep.errors import CfsweepError, InputError
from cfsweep.files import write_atomically
from cfsweep.sweeping.scheduler import Workers

# The cheap ones first: the last takes about twice as long as all others together.
TABLES = (
    head_to_head.TABLE,
    split_mnist.TABLE,
    mnist_halves.TABLE,
    remedies.TABLE,
    mnist_fashion.TABLE,
    van_de_ven.TABLE,
)
SEEDS = 10  # of the main rows
PAGE = Path(__file__).parent.parent / "docs" / "reproduction.md"
EXIT_INTERRUPTED = 130


def command_of(seeds: int) -> str:
    """The command that measures what the page shows."""
    return "python -m benchmarks.reproduce" + ("" if seeds == SEEDS else f" --seeds {seeds}")


def chosen(jobs: Sequence[Job], patterns: Sequence[str]) -> list[Job]:
    """The jobs whose table or whose `table/row` matches one of the patterns; all of them without a pattern.

    Raises:
        InputError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(job, pattern) for job in jobs):
            tables = ", ".join(dict.fromkeys(job.key.split("/")[0] for job in jobs))
            raise InputError(f"--only {pattern}: no row is called so. Give one of {tables}, or `table/row`, with *.")
    return [job for job in jobs if not patterns or any(_matches(job, pattern) for pattern in patterns)]


def _matches(job: Job, pattern: str) -> bool:
    return fnmatch(job.key, pattern) or fnmatch(job.key.split("/")[0], pattern)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description=__doc__)
    data = os.environ.get("CFSWEEP_DATA")
    made.add_argument("--data", type=Path, default=data and Path(data), help="the folder with MNIST ($CFSWEEP_DATA)")
    made.add_argument("--out", type=Path, default=Path("runs/reproduction"), help="one folder per stage goes here")
    made.add_argument("--page", type=Path, default=PAGE, help="where the report is written, and its records")
    made.add_argument("--only", action="append", default=[], metavar="TABLE[/ROW]", help="train these; may be repeated")
    made.add_argument("--seeds", type=int, default=SEEDS, help="of the main rows (%(default)s)")
    made.add_argument("--workers", type=int, default=None, help="processes; 0: this one (default: one per processor)")
    made.add_argument("--report-only", action="store_true", help="train nothing")
    return made


def main(arguments: Sequence[str] | None = None, tables: Sequence[Table] = TABLES) -> int:
    """Returns the exit code: 0 done, 2 bad input, 130 interrupted (and resumable)."""
    given, console = parser().parse_args(arguments), Console()
    try:
        if given.seeds < 1:
            raise InputError(f"--seeds {given.seeds}: `1 <= seeds` must hold.")
        jobs = jobs_of(tables, given.out, given.seeds, given.data)
        wanted = chosen(jobs, given.only)
        went_on = given.report_only or run(wanted, Workers(given.workers), console)
        kept = given.page.with_suffix(".parquet")
        records.write(records.collect(jobs, records.processor()), kept)
        text = report(tables, records.read(kept), command_of(given.seeds))
        write_atomically(given.page, lambda file: file.write(text.encode()))
    except CfsweepError as error:
        print(f"benchmarks.reproduce: {error}", file=sys.stderr)
        return error.exit_code
    console.print(f"written: {given.page}", highlight=False, soft_wrap=True)
    return 0 if went_on else EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
