"""The tables of docs/uncertainty.md, from measured cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from analysis.uncertainty import LEAST_SEEDS, LEVEL
from benchmarks.coverage_cells import NOTHING, Cell, Result
from benchmarks.coverage_measures import BANDS, NO_BANDS, Bands
from benchmarks.page import markdown_table

Results = Mapping[Cell, Result]
Column = tuple[str, str]  # its heading, and the name of the number
Text = Callable[[float, int], str]  # of a number, and of how many seeds it is
AIM, AIM_OF_FEW, FEW = 0.02, 0.90, 5  # within 2 points of 95 % from 5 seeds on, no less than 90 % with fewer
LESS, MORE = "↓", "↑"


def coverage(share: float, n_seeds: int) -> str:
    """A share that holds, in %, with a mark where it misses the aim.

    >>> coverage(0.9301, 5), coverage(0.9299, 5), coverage(0.9, 3), coverage(0.89, 3), coverage(0.98, 3)
    ('93.0', '93.0 ↓', '90.0', '89.0 ↓', '98.0 ↑')
    >>> coverage(float("nan"), 2)
    '–'
    """
    least = LEVEL - AIM if n_seeds >= FEW else AIM_OF_FEW
    mark = f" {LESS}" if share < least - 1e-9 else f" {MORE}" if share > LEVEL + AIM + 1e-9 else ""
    return tenths(share) + mark


def percent(share: float, _: int = 0) -> str:
    """A share in %, whole; a dash for none.

    >>> percent(0.951)
    '95'
    """
    return "–" if np.isnan(share) else f"{100 * share:.0f}"


def tenths(share: float, _: int = 0) -> str:
    """A share in %, to a tenth; a dash for none.

    >>> tenths(0.0475)
    '4.8'
    """
    return "–" if np.isnan(share) else f"{100 * share:.1f}"


def points(difference: float, _: int = 0) -> str:
    """A difference in points, that is hundredths; a dash for none.

    >>> points(0.0123), points(-0.00004)
    ('+1.23', '+0.00')
    """
    return "–" if np.isnan(difference) else f"{100 * difference + 0.0:+.2f}".replace("-0.00", "+0.00")


def table(
    results: Results, rows: Sequence[Cell], columns: Sequence[Column], seeds: Sequence[int], texts: Sequence[Text]
) -> str:
    """A row for each of `rows`, whatever its number of seeds, and a cell for each of `columns`: its number with each of
    `seeds` that has one, written as the one of `texts` at its place does."""
    headings, cells = [], []
    for (heading, name), text in zip(columns, texts, strict=True):
        there = [n for n in seeds if any(name in results[replace(row, n_seeds=n)].totals for row in rows)]
        headings.append(f"{heading}: {' / '.join(map(str, there))} seeds")
        cells.append([" / ".join(text(results[replace(row, n_seeds=n)].mean(name), n) for n in there) for row in rows])
    return markdown_table(["", *headings], zip(map(kind, rows), *cells, strict=True))


def together(results: Results, rows: Sequence[Cell], whats: Mapping[str, tuple[str, str]], seeds: Sequence[int]) -> str:
    """A row for each of `whats`, by name that of an interval and of the one of before: how often each holds in the
    studies of all `rows` together, and how often the first does in the row where it does least."""
    lines = []
    for what, (now, before) in whats.items():
        cells: list[list[str]] = [[], [], []]
        for n in seeds:
            found = [results[replace(row, n_seeds=n)] for row in rows]
            least = min((result.mean(now) for result in found if now in result.totals), default=float("nan"))
            pooled = sum(found, NOTHING)
            for cell, share in zip(cells, (pooled.mean(now), least, pooled.mean(before)), strict=True):
                cell.append(tenths(share))
        lines.append([what, *(" / ".join(cell) for cell in cells)])
    of = f"{' / '.join(map(str, seeds))} seeds"
    return markdown_table(["", f"holds: {of}", "least of any kind", "percentile bootstrap"], lines)


def calibration(results: Results, rows: Sequence[Cell], seeds: Sequence[int], who: Sequence[str]) -> str:
    """By band of the front share, what was shown on average and the share truly on the front, by `who` is in it,
    `model` and `bootstrap`; all `seeds` together of which there is an interval."""
    lines = []
    for row in rows:
        found = [results[replace(row, n_seeds=n)] for n in seeds if n >= LEAST_SEEDS]
        for name in who:
            shown = sum([result.model if name == "model" else result.bootstrap for result in found], NO_BANDS)
            lines.append([kind(row) + (f": {name}" if len(who) > 1 else ""), *_calibrated(shown)])
    return markdown_table(["", *(f"{low:g} to {high:g}" for low, high in pairwise(BANDS))], lines)


LEAST_IN_BAND = 50  # trials, for a share with an error of 7 points at most


def _calibrated(found: Bands) -> list[str]:
    trials, shown, on_front = found.table
    return [
        f"{s / n:.2f} → {o / n:.2f}" if n >= LEAST_IN_BAND else "–"
        for n, s, o in zip(trials, shown, on_front, strict=True)
    ]


def kind(cell: Cell) -> str:
    """What the studies of a cell are, in words.

    >>> kind(Cell(3, "equal", "plain", 24)), kind(Cell(3, study="runs/mine"))
    ('equal, 24 trials', 'mine')
    >>> kind(Cell(3, "equal", "heavy tails (t5)", 40))
    'equal, 40 trials, heavy tails (t5)'
    """
    if cell.study:
        return Path(cell.study).name
    return f"{cell.population}, {cell.n_trials} trials" + ("" if cell.noise == "plain" else f", {cell.noise}")
