"""The rows of each task of a table: by a column that names the task, or by windows of a date."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfsweep.errors import InputError, few
from cfsweep.training.streams._base import Indices
from cfsweep.training.streams._table_files import Raw
from cfsweep.training.streams._table_settings import TableSettings
from cfsweep.training.streams._typed import DAY_US, NUMBER

Moments_us = NDArray[np.int64]  # microseconds since 1970-01-01, UTC


@dataclass(frozen=True)
class Tasks:
    """The names of the tasks, and the rows of each (n,), in the order of time where there is one; of windows when each
    begins, and the last moment that is in one."""

    names: list[str]
    rows: list[Indices]
    starts: tuple[str, ...] = ()
    until: str | None = None


def tasks_of(table: Raw, settings: TableSettings) -> Tasks:
    """All tasks of the table.

    Those that a column names come in natural order: by number or date if all are some, else, if all have digits, by
    these and by the text around them (`week 2` before `week 10`), else as they first appear. Windows are of
    equal length, each from its first moment up to the next one's, and are called by it.

    Raises:
        InputError: a row has no task or no date, or a window has no row.
    """
    if settings.task is not None:
        of = _named(table, settings.task)
        names = in_order(dict.fromkeys(of.tolist()))
        place_of = {name: place for place, name in enumerate(names)}
        place = np.array([place_of[name] for name in of.tolist()])
        when = _order(table, settings)
        return Tasks(names, [_by_time(np.flatnonzero(place == k), when) for k in range(len(names))])
    when = _when(table, settings)
    starts = _starts(table, settings, when)
    if (early := np.flatnonzero(when < starts[0])).size:
        said = f"dates must not be before the first window, {text_of(starts[0])}, but got {text_of(when[early[0]])}"
        raise table.error(str(settings.date), int(early[0]), said, "Drop the row, or let a window begin earlier")
    window = np.searchsorted(starts, when, "right") - 1
    names = [text_of(start) for start in starts]
    rows = [_by_time(np.flatnonzero(window == number), when) for number in range(len(starts))]
    for name, end, own in zip(names, [*names[1:], "the end"], rows, strict=True):
        if not len(own):
            raise InputError(
                f"{table.where}: each window needs rows, but that from {name} to {end} has none. Take fewer `windows`, "
                "or say when each begins."
            )
    return Tasks(names, rows, tuple(names), text_of(int(when.max())))


def next_rows(table: Raw, settings: TableSettings, learned: Sequence[str], until: str | None, name: str) -> Tasks:
    """The one task of a table that is new: what its column `task` calls otherwise than those that were `learned`, or
    what is later than `until`; all rows, called `name`, where it has no such column.

    Raises:
        InputError: there is none, or more than one.
    """
    if settings.task is None:
        when = _when(table, settings)
        rows = np.flatnonzero(when > moments_us([until or ""], table.where)[0])
        if not len(rows):
            raise InputError(f"{table.where}: the bundle has learned all until {until}, and no row is later. Add some.")
        start = text_of(int(when[rows].min()))
        return Tasks([start], [_by_time(rows, when)], (start,), text_of(int(when[rows].max())))
    if settings.task not in table.names:
        return Tasks([name], [_by_time(np.arange(len(table)), _order(table, settings))])
    of = _named(table, settings.task)
    new = [task for task in in_order(dict.fromkeys(of.tolist())) if task not in learned]
    if len(new) != 1:
        has = f"has {few(f'`{task}`' for task in new)}" if new else "has none"
        raise InputError(f"{table.where}: it must hold one task that the bundle has not learned, but {has}. Cut it so.")
    return Tasks(new, [_by_time(np.flatnonzero(of == new[0]), _order(table, settings))])


def in_order(names: Iterable[str]) -> list[str]:
    """
    >>> in_order(["10", "9.5"]), in_order(["week 10", "week 2"]), in_order(["north", "east"])
    (['9.5', '10'], ['week 2', 'week 10'], ['north', 'east'])
    """
    found = list(names)
    if all(re.match(NUMBER, name) for name in found):
        return sorted(found, key=float)
    if not all(re.search(r"\d", name) for name in found):
        return found
    parts = {name: re.split(r"(\d+)", name) for name in found}  # texts and numbers by turns
    return sorted(found, key=lambda name: [int(p) if k % 2 else p for k, p in enumerate(parts[name])])


def text_of(us: int) -> str:
    """A moment as ISO 8601 has it, no longer than need be.

    >>> text_of(0), text_of(1_500_000)
    ('1970-01-01', '1970-01-01T00:00:01.500000')
    """
    text = str(np.datetime64(int(us), "us"))
    return text[:10] if us % DAY_US == 0 else text[:19] if us % 1_000_000 == 0 else text


def moments_us(texts: Sequence[str], where: str) -> Moments_us:
    """
    Raises:
        InputError: one is no date.
    """
    try:
        return np.array([np.datetime64(text, "us") for text in texts]).astype(np.int64)
    except ValueError as error:
        raise InputError(f"{where}: `windows` should be dates as 2024-01-31, but got {few(texts)}. Mend it.") from error


def _named(table: Raw, column: str) -> NDArray[np.object_]:
    of = table.words(column)
    for row, name in enumerate(of.tolist()):
        if name is None:
            raise table.error(column, row, "each row must say its task, but this one does not", "Fill or drop it")
    return of


def _when(table: Raw, settings: TableSettings) -> Moments_us:
    date = str(settings.date)
    days = table.values(date, "date", "Mend or drop the row")
    if (missing := np.flatnonzero(np.isnan(days))).size:
        said = "each row must have its date, but this one has none"
        raise table.error(date, int(missing[0]), said, "Fill or drop it")
    return np.rint(days * DAY_US).astype(np.int64)


def _order(table: Raw, settings: TableSettings) -> Moments_us | None:
    """When each row was, if the table says so."""
    return _when(table, settings) if settings.date in table.names else None


def _by_time(rows: Indices, when: Moments_us | None) -> Indices:
    """These rows, those of one moment as they stand."""
    return rows if when is None else rows[np.argsort(when[rows], kind="stable")]


def _starts(table: Raw, settings: TableSettings, when: Moments_us) -> Moments_us:
    if not isinstance(settings.windows, int):
        found = moments_us(settings.windows or (), table.where)
        if (np.diff(found) <= 0).any():
            raise InputError(
                f"{table.where}: `windows` must begin one after the other, but got {few(map(text_of, found))}."
            )
        return found
    first, last, n = int(when.min()), int(when.max()), settings.windows
    if n > len(when):
        raise InputError(f"{table.where}: {n} windows must each have a row, but there are {len(when)}. Take fewer.")
    step = DAY_US if (when % DAY_US == 0).all() else 1  # whole days stay whole ones: no row lies between
    return np.array([first + -((first - last) * k // (n * step)) * step for k in range(n)])
