"""The front as a still picture (PNG, SVG, PDF)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.files import write_whole
from analysis.frames import numbers
from analysis.fronts import Front
from analysis.reporting import palette
from analysis.reporting.contours import LABEL, contours
from analysis.reporting.plane import X, Y, box_of, marks
from cfsweep.errors import InputError, unknown

Floats = NDArray[np.float64]
SUFFIXES = ("png", "svg", "pdf")
_SYMBOLS = {"naive": ("X", palette.NAIVE), "joint": ("D", palette.JOINT), "default": ("s", palette.DEFAULT)}


def picture(found: Front, path: Path, n_tasks: int, title: str = "") -> Path:
    """Draws stability against plasticity with the front, the references and the default, and writes it to `path`.

    With a third objective the front is its projection on these two axes, drawn without a line.

    Raises:
        InputError: the suffix is unknown, or there is nothing to draw.
    """
    kind = path.suffix.lstrip(".").lower()
    if kind not in SUFFIXES:
        raise unknown(str(path), "picture format", kind, SUFFIXES)
    if not len(found.table):
        raise InputError(f"{path}: nothing to draw. {' '.join(found.notes)}")
    figure = Figure(figsize=(7.2, 4.8), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    _points(axes, found)
    _marks(axes, found)
    _contours(axes, found, n_tasks)
    axes.set_xlabel("stability: accuracy on the old tasks at the end")
    axes.set_ylabel("plasticity: accuracy on each task just learned")
    # A dollar sign in a user's name would start mathematics.
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=10, color=palette.TEXT)
    axes.grid(color=palette.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="best", fontsize=8, frameon=True, framealpha=0.9)
    write_whole(path, lambda file: figure.savefig(file, format=kind))
    return path


def _points(axes: Axes, found: Front) -> None:
    members = found.members
    rest = found.table[~found.table["on_front"].astype(bool)]
    axes.scatter(
        numbers(rest[X]),
        numbers(rest[Y]),
        s=18,
        color=palette.OTHERS,
        alpha=0.7,
        label=f"other trials ({len(rest)})",
        zorder=2,
        clip_on=False,  # a mark on the border is drawn whole
    )
    x, y = numbers(members[X]), numbers(members[Y])
    if len(found.objectives) == 2:
        axes.step(x, y, where="pre", color=palette.FRONT, linewidth=1.4, alpha=0.8, zorder=3)
    if found.n_seeds > 1:
        dx, dy = within(x, numbers(members[f"{X}_sd"])), within(y, numbers(members[f"{Y}_sd"]))
        axes.errorbar(x, y, dy, dx, fmt="none", ecolor=palette.FRONT, elinewidth=0.7, alpha=0.35, zorder=3)
    axes.scatter(x, y, s=34, color=palette.FRONT, label=f"front ({len(members)} trials)", zorder=4, clip_on=False)


def within(mean: Floats, sd: Floats) -> Floats:
    """How far a bar of one `sd` reaches below and above each `mean`, (2, n): an accuracy lies in [0, 1].

    >>> within(np.array([0.5, 0.875]), np.array([0.25, 0.25])).tolist()
    [[0.25, 0.25], [0.25, 0.125]]
    """
    return np.stack([np.minimum(sd, mean), np.minimum(sd, 1 - mean)])


def _marks(axes: Axes, found: Front) -> None:
    for mark in marks(found):
        symbol, colour = _SYMBOLS[mark.name]
        axes.scatter(
            [mark.x],
            [mark.y],
            s=70,
            marker=symbol,
            color=colour,
            edgecolor="white",
            linewidth=0.8,
            label=mark.name,
            zorder=5,
            clip_on=False,
        )
        axes.annotate(
            mark.name,
            (mark.x, mark.y),
            (-18, -15) if mark.name == "default" else (7, 5),
            textcoords="offset points",
            fontsize=9,
            color=palette.TEXT,
            zorder=6,
        )


def _contours(axes: Axes, found: Front, n_tasks: int) -> None:
    box = box_of(found)
    label: str | None = f"equal average accuracy c:\n{LABEL}"
    for level, start, end in contours(n_tasks, box):
        ends = ([start[0], end[0]], [start[1], end[1]])
        axes.plot(*ends, "--", color=palette.CONTOUR, linewidth=0.9, zorder=1, label=label)
        axes.annotate(f"{level:g}", start, (2, -9), textcoords="offset points", fontsize=7, color="#6b7680", zorder=1)
        label = None  # one entry in the legend for all of them
    axes.set_xlim(*box[:2])
    axes.set_ylim(*box[2:])
