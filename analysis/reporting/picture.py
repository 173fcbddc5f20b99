"""The front as a still picture (PNG, SVG, PDF)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from analysis.files import write_whole
from analysis.frames import numbers
from analysis.fronts import Front
from analysis.reporting import palette
from analysis.reporting.contours import LABEL, Segment, contours
from analysis.reporting.labels import DESCENT, Canvas, Labels, joined, offsets
from analysis.reporting.plane import Box, X, Y, box_of, marks, points_of
from cfsweep.errors import InputError, unknown
from cfsweep.visible import visible

Floats = NDArray[np.float64]
_FONT, _SMALL, _ROOM = 9.0, 7.0, (14.0, 40.0)  # in points
_LONGEST = 70  # letters of a line of the title
SUFFIXES = ("png", "svg", "pdf")
_SYMBOLS = {
    "naive": ("X", palette.NAIVE),
    "joint": ("D", palette.JOINT),
    "majority": ("P", palette.MAJORITY),
    "default": ("s", palette.DEFAULT),
}


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
    figure = drawn(found, n_tasks, title)
    write_whole(path, lambda file: figure.savefig(file, format=kind))
    return path


def svg(figure: Figure) -> str:
    """The picture as SVG to be put into a page of HTML."""
    file = StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()[file.getvalue().index("<svg") :]


def drawn(found: Front, n_tasks: int, title: str = "") -> Figure:
    """The picture as a figure of matplotlib."""
    width = 7.2
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1 - _ROOM[1] / 72 / width, 1))
    figure = Figure(figsize=(width, 5.0), dpi=160, layout=layout)
    axes = figure.add_subplot()
    box = box_of(found)
    lines = contours(n_tasks, box)
    _points(axes, found)
    _marks(axes, found)
    _lines(axes, lines)
    axes.set_xlim(*box[:2])
    axes.set_ylim(*box[2:])
    axes.set_xlabel("stability: score on the old tasks at the end")
    axes.set_ylabel("plasticity: score on each task just learned")
    # A dollar sign in a user's name would start mathematics.
    lines_of_title = "\n".join(wrap(visible(title), _LONGEST)).replace("$", r"\$")
    axes.set_title(lines_of_title, loc="left", fontsize=10, color=palette.TEXT, pad=_ROOM[0])
    axes.tick_params(length=6)  # a mark on the border is not to cover the number beside it
    axes.grid(color=palette.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _labels(figure, axes, found, box, lines)
    return figure


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
    axes.scatter(x, y, s=34, color=palette.FRONT, label=f"front ({len(members)})", zorder=4, clip_on=False)


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


def _lines(axes: Axes, lines: Sequence[Segment]) -> None:
    label: str | None = f"equal average score c:\n{LABEL}"
    for _, start, end in lines:
        ends = ([start[0], end[0]], [start[1], end[1]])
        axes.plot(*ends, "--", color=palette.CONTOUR, linewidth=0.9, zorder=1, label=label)
        label = None  # one entry in the legend for all of them


def _labels(figure: Figure, axes: Axes, found: Front, box: Box, lines: Sequence[Segment]) -> None:
    """Writes the labels, once all else is in its place, and without moving it."""
    figure.draw_without_rendering()
    shown, marked = axes.get_window_extent(), marks(found)
    size = (shown.width * 72 / figure.dpi, shown.height * 72 / figure.dpi)  # in points, as fonts and offsets are
    labels = Labels(Canvas(box, (size,), _ROOM, _FONT, _SMALL), points_of(found), marked, dict.fromkeys(_SYMBOLS, 7.0))
    write = partial(axes.annotate, textcoords="offset points", annotation_clip=False, in_layout=False)
    for mark, text in zip(marked, joined(marked), strict=True):
        if text:
            x, y = offsets(text, _FONT, labels.reach[mark.name])[labels.of_mark(mark, text)]
            write(text, (mark.x, mark.y), (x, -y), fontsize=_FONT, color=palette.TEXT, zorder=6)
    for level, start, end in lines:
        at = labels.of_line(text := f"{level:g}", start, end)
        if at is not None:
            write(text, at, (2, DESCENT * _SMALL), fontsize=_SMALL, color="#6b7680", zorder=1)
