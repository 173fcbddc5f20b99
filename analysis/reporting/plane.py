"""The plane of stability and plasticity, as the figure and the still picture of the front both draw it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import AVERAGE_COLUMN, row_of, value
from analysis.frames import numbers
from analysis.fronts import Front
from analysis.references import METHODS
from cfsweep.metrics.catalogue import SHARE, Bounds
from cfsweep.results.schema import DEFAULT_TRIAL, MAJORITY, MAJORITY_TRIAL
from cfsweep.texts import not_above

X, Y = "val_stability", "val_plasticity"
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """A row that stands out from the trials: what it is called, and where it lies."""

    name: str
    row: pd.Series
    x: float
    y: float


def marks(found: Front, chosen: int | None = None) -> list[Mark]:
    """`naive`, `joint`, `default` and the trial `chosen`, as far as they have finished; and `majority` where it shows
    something, see `drawn_references`."""
    by_method = {row["method"]: row for _, row in drawn_references(found).iterrows()}  # one of each
    rows = {
        **{method: by_method.get(method) for method in (*METHODS, MAJORITY)},
        "default": row_of(found.table, DEFAULT_TRIAL),
        "chosen": None if chosen is None else row_of(found.table, chosen),
    }
    made = []
    for name, row in rows.items():
        x, y = value(row, X), value(row, Y)
        if row is not None and x is not None and y is not None:
            made.append(Mark(name, row, x, y))
    return made


def drawn_references(found: Front) -> pd.DataFrame:
    """The references that a figure shows: not `majority` where every ranked trial beats it, as it then lies far off,
    and would leave the trials a corner of the figure."""
    constant = value(row_of(found.references, MAJORITY_TRIAL), AVERAGE_COLUMN)
    if any(not_above(own, constant) for own in numbers(found.table[AVERAGE_COLUMN])):
        return found.references
    return found.references[found.references["trial"] != MAJORITY_TRIAL]


def points_of(found: Front) -> NDArray[np.float64]:
    """The places of the ranked trials, (n, 2)."""
    return np.column_stack([numbers(found.table[X]), numbers(found.table[Y])])


def box_of(found: Front) -> Box:
    """The part of the plane with all ranked trials and drawn references, and a margin: x low, x high, y low, y
    high."""
    tables = [table for table in (found.table, drawn_references(found)) if len(table)]
    x_range, y_range = (
        padded([v for t in tables for v in numbers(t[axis]) if v == v], found.score_bounds) for axis in (X, Y)
    )
    return *x_range, *y_range


def padded(
    values: Iterable[float], bounds: Bounds = SHARE, share: float = 0.08, least: float = 0.02
) -> tuple[float, float]:
    """The range of scores, widened by `share` of itself on either side, within their `bounds`; and by at least `least`,
    or by so much of the largest where they may be of any size.

    >>> padded([0.5, 0.5]), padded([0.25, 1.0]), padded([-50.0, -50.0], (-np.inf, 0.0))
    ((0.48, 0.52), (0.19, 1.0), (-51.0, -49.0))
    """
    known = [float(value) for value in values]
    low, high = min(known), max(known)
    if not np.isfinite(bounds).all():
        least *= max(abs(low), abs(high)) or 1.0
    margin = max((high - low) * share, least)
    return max(low - margin, bounds[0]), min(high + margin, bounds[1])
