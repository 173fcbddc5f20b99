"""What earlier sessions of a sweep have written, and what of it was lost since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cfsweep.results.reader import KEY, read_table
from cfsweep.results.schema import TABLE_OF, WORKER_DIED

Key = tuple[int, int]


class Written(NamedTuple):
    """The rows of the runs that are whole; the (trial, seed) of those that are `torn`: some of their parts of `runs/`,
    `accuracy/` and `test/` are gone, but not all (`test/` only where the study tests); those that have failed, but are
    to be tried `again`, with the attempt that failed; the latest attempt that anything is left of, 0 if nothing is."""

    rows: list[dict[str, Any]]
    torn: set[Key]
    again: dict[Key, int]
    latest_attempt: int

    @property
    def next_attempt(self) -> int:
        """With which runs without a row are trained: what replaces one must be told from what is left of it."""
        return self.latest_attempt + 1 if self.torn or self.again else 1

    @property
    def whole(self) -> bool:
        """Whether there is nothing to be trained again."""
        return not self.torn and not self.again


def read_written(
    root: Path, study_id: str, columns: Iterable[str], parts: Iterable[str], failures_again: bool = False
) -> Written:
    """That of the study in the results folder `root`, whose runs are scored by `parts`, with these columns of its runs.
    A run that failed because its workers died is to be tried again, and with `failures_again` each one that failed.

    Raises:
        InputError: a part cannot be read, or is of another study.
    """
    runs = read_table(root, "runs", dict.fromkeys((*columns, "tasks_done", "failure")), study_id).to_pylist()
    matrices = [read_table(root, table, (), study_id) for table in (TABLE_OF[part] for part in parts)]
    # With the attempt, as what is left of an earlier one is nothing of this one.
    known = [set(zip(*(table[name].to_pylist() for name in KEY), strict=True)) for table in matrices]
    scored, all_runs = {_key(row) for row in runs if row["tasks_done"]}, {_key(row) for row in runs}
    latest = {(trial, seed): attempt for trial, seed, attempt in all_runs}
    # What is left of an earlier attempt, which came further than the latest one, is no part of that.
    homeless = [{k for k in of if k[2] > latest.get((k[0], k[1]), 0)} for of in known]
    gone = [(scored - of) | those for of, those in zip(known, homeless, strict=True)]
    torn = {(trial, seed) for those in gone for trial, seed, _ in those}
    attempts = [attempt for of in (all_runs, *known) for _, _, attempt in of]
    failed = [row for row in runs if row.get("failure") is not None]
    died = [row for row in failed if failures_again or row["failure"].startswith(WORKER_DIED)]
    again = {(row["trial"], row["seed"]): row["attempt"] for row in died}
    whole = [row for row in runs if (row["trial"], row["seed"]) not in torn | again.keys()]
    return Written(whole, torn, again, max(attempts, default=0))


def _key(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in KEY)
