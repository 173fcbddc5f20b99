"""Makes a whole study wrong in one place, as if it had been written so: committed, so that no SHA-256 betrays it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cfsweep.results.ledger import begin_ledger
from cfsweep.results.opening import by_name, entry_of, parts_in
from cfsweep.results.schema import ACCURACY_SCHEMA, TABLES
from cfsweep.results.writer import write_part
from cfsweep.sweeping.folder import Folder
from tests.faults.verdict import Row, rows_of

RUN = (1, 0)  # trial and seed of one that was trained


def commit(out: Path, but: tuple[str, ...] = ()) -> None:
    """Makes all parts that are there results, but those of some tables."""
    parts = [path for path in parts_in(out) if path.parent.name not in but]
    begin_ledger(out, Folder(out).read()[0].study_id, [entry_of(out, of) for of in by_name(parts).values()])


def write(out: Path, table: str, change: Callable[[list[Row]], list[Row]]) -> None:
    """Has the table hold other rows."""
    parts, rows = sorted((out / table).glob("*.parquet")), change(rows_of(out, table))
    schema = pq.read_schema(parts[0]) if parts else ACCURACY_SCHEMA
    for path in parts:
        path.unlink()
    write_part(out, table, "all", rows, schema)
    commit(out)


def is_of(row: Row, run: tuple[int, int]) -> bool:
    return (row["trial"], row["seed"]) == run


def lose(out: Path, tables: tuple[str, ...] = TABLES, run: tuple[int, int] = RUN) -> None:
    """All rows of a run."""
    for table in tables:
        write(out, table, lambda rows: [row for row in rows if not is_of(row, run)])


def lose_one(out: Path, table: str, run: tuple[int, int] = RUN) -> None:
    """The first row of a run."""

    def change(rows: list[Row]) -> list[Row]:
        rows.remove(next(row for row in rows if is_of(row, run)))
        return rows

    write(out, table, change)


def add(out: Path, table: str, run: tuple[int, int] = RUN, **values: Any) -> None:
    """The first row of a run once more, but for these values."""
    write(out, table, lambda rows: [*rows, {**next(row for row in rows if is_of(row, run)), **values}])


def alter(out: Path, table: str, column: str, by: Callable[[Any], Any], run: tuple[int, int] = RUN) -> None:
    """One value, in the last row of a run."""

    def change(rows: list[Row]) -> list[Row]:
        own = [row for row in rows if is_of(row, run)][-1]
        before, own[column] = own[column], by(own[column])
        assert own[column] != before
        return rows

    write(out, table, change)


def up(value: float) -> float:
    """The next greater number."""
    return math.nextafter(value, math.inf)


def repeat(out: Path, *states: str) -> None:
    """Attempts that ended so come before the last one of the run."""
    last = len(states) + 1
    for table in TABLES:
        write(out, table, lambda rows: [row | {"attempt": last} if is_of(row, RUN) else row for row in rows])
    for number, state in enumerate(states, 1):
        add(out, "runs", attempt=number, state=state)


def put(out: Path, table: str, trial: int, as_trial: int, **values: Any) -> None:
    """The rows of another trial in place of one's own."""

    def change(rows: list[Row]) -> list[Row]:
        others = [row for row in rows if row["trial"] != as_trial]
        return others + [row | {"trial": as_trial, **values} for row in rows if row["trial"] == trial]

    write(out, table, change)


def enter(out: Path, change: Callable[[Row], Row | None], *more: Row) -> None:
    """Has the journal hold other operations, and `more`, as an earlier version wrote it: without checks."""
    path = out / "journal.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    before = [{name: value for name, value in line.items() if name != "check"} for line in lines]
    now = [*filter(None, map(change, before)), *more]
    assert now != before
    path.write_text("".join(json.dumps(line) + "\n" for line in now))


def of_trial(trial: int, **values: Any) -> Callable[[Row], Row]:
    """The operations on a trial have these values, where they have such at all."""
    return lambda line: line | {k: v for k, v in values.items() if line.get("trial_id") == trial and line.get(k)}


def lie_there(out: Path, name: str) -> None:
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).touch()
