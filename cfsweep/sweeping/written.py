"""What earlier sessions of a sweep have written, and what of it was lost since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cfsweep.results.reader import KEY, read_table
from cfsweep.results.schema import TABLE_OF

Key = tuple[int, int]


class Written(NamedTuple):
    """The rows of the runs that are whole; the (trial, seed) of those that are `torn`: some of their parts of `runs/`,
    `accuracy/` and `test/` are gone, but not all (`test/` only where the study tests); the latest attempt that
    anything is left of, 0 if nothing is."""

    rows: list[dict[str, Any]]
    torn: set[Key]
    latest_attempt: int

    @property
    def next_attempt(self) -> int:
        """With which runs without a row are trained: what replaces a torn one must be told from what is left of it."""
        return self.latest_attempt + 1 if self.torn else 1


def read_written(root: Path, study_id: str, columns: Iterable[str], parts: Iterable[str]) -> Written:
    """That of the study in the results folder `root`, whose runs are scored by `parts`, with these columns of its runs.

    Raises:
        InputError: a part cannot be read, or is of another study.
    """
    runs = read_table(root, "runs", [*columns, "tasks_done"], study_id).to_pylist()
    matrices = [read_table(root, table, (), study_id) for table in (TABLE_OF[part] for part in parts)]
    # With the attempt, as what is left of an earlier one is nothing of this one.
    known = [set(zip(*(table[name].to_pylist() for name in KEY), strict=True)) for table in matrices]
    scored, all_runs = {_key(row) for row in runs if row["tasks_done"]}, {_key(row) for row in runs}
    torn = {(trial, seed) for of in known for trial, seed, _ in (scored - of) | (of - all_runs)}
    attempts = [attempt for of in (all_runs, *known) for _, _, attempt in of]
    whole = [row for row in runs if (row["trial"], row["seed"]) not in torn]
    return Written(whole, torn, max(attempts, default=0))


def _key(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in KEY)
