"""Where the labels of marks and lines stand in the plane, so that none covers another.

A label has a few places to choose from; one label after the other takes the best place that is left. What is near is
told in pixels, x to the right and y down, for each size in which a figure may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.reporting.plane import Box, Mark

Floats = NDArray[np.float64]
Point = tuple[float, float]
LETTER, ASCENT, DESCENT = 0.62, 0.93, 0.24  # of a font's size: the width of a letter, its reach from the baseline
# As plotly calls them, the best first.
POSITIONS = (
    *("top center", "bottom center", "middle right", "middle left"),
    *("top right", "bottom right", "top left", "bottom left"),
)
ALONG = np.linspace(0, 1, 21)[:, None]  # of a line, from its upper end: where its label may begin
TRIAL = 4.0  # how far a trial's dot reaches
# What a square pixel costs that is another label's, beside the plot, a mark's, a trial's.
COSTS = np.array([10_000.0, 300.0, 10.0, 1.0])


@dataclass(frozen=True)
class Canvas:
    """The part `box` of the plane in a plot of each of the `sizes` (width, height). The label of a mark may reach out
    of it by `room` (at the top, at the right). `font` is the size of such a label, `small` of a line's. In pixels."""

    box: Box
    sizes: tuple[tuple[float, float], ...]
    room: tuple[float, float]
    font: float
    small: float

    def at(self, points: Floats) -> list[Floats]:
        """Points (n, 2) of the plane in pixels, for each size.

        >>> Canvas((0, 1, 0, 1), ((200, 100),), (0, 0), 13, 10).at(np.array([[0.5, 0.25]]))[0].tolist()
        [[100.0, 75.0]]
        """
        x_low, x_high, y_low, y_high = self.box
        share = (points - np.array([x_low, y_high])) / np.array([x_high - x_low, y_low - y_high])
        return [share * np.array(size) for size in self.sizes]


def joined(marks: Sequence[Mark]) -> list[str]:
    """The label of each mark: of those at the very same place the last, which is drawn on top, has the names of all."""
    names: dict[Point, list[str]] = {}
    for mark in marks:
        names.setdefault((mark.x, mark.y), []).append(mark.name)
    return [", ".join(all_names) if (all_names := names[mark.x, mark.y])[-1] == mark.name else "" for mark in marks]


def offsets(text: str, font: float, reach: float) -> dict[str, Point]:
    """By position, where the left end of the baseline of `text` is, seen from a mark that reaches so far: as in plotly.

    >>> offsets("abc", 10, 5)["middle right"], offsets("abc", 10, 5)["top right"]
    ((5, 2.5), (5, -7.5))
    """
    width = LETTER * font * len(text)
    across = {"left": -reach - width, "center": -width / 2, "right": reach}
    down = {"top": -reach - font / 4, "middle": font / 4, "bottom": reach + 0.75 * font}
    return {name: (across[name.split()[1]], down[name.split()[0]]) for name in POSITIONS}


class Labels:
    """Gives labels their places, one after the other: beside `trials` (n, 2) and `marks`, from which their labels keep
    off by `reach` (by name), a third more than the marks themselves take up."""

    def __init__(self, canvas: Canvas, trials: Floats, marks: Sequence[Mark], reach: Mapping[str, float]) -> None:
        self.canvas, self.reach = canvas, reach
        centres = np.array([(mark.x, mark.y) for mark in marks]).reshape(-1, 2)
        reaches = 0.75 * np.array([reach[mark.name] for mark in marks]).reshape(-1, 1)
        self._trials = [np.hstack([at - TRIAL, at + TRIAL]) for at in canvas.at(trials)]
        self._marks = [np.hstack([at - reaches, at + reaches]) for at in canvas.at(centres)]
        self._labels = [np.zeros((0, 4)) for _ in canvas.sizes]

    def of_mark(self, mark: Mark, text: str) -> str:
        """The position of the label of `mark`, one of `POSITIONS`."""
        starts = offsets(text, self.canvas.font, self.reach[mark.name])
        places = [self._place((mark.x, mark.y), start, text, self.canvas.font) for start in starts.values()]
        costs = [float(self._areas(place, self.canvas.room) @ COSTS) for place in places]
        best = int(np.argmin(costs))
        self._take(places[best])
        return list(starts)[best]

    def of_line(self, text: str, start: Point, end: Point) -> Point | None:
        """Where on a line that falls from `start` to `end` the label right above it begins, as near to `start` as can
        be; None where there is no room."""
        points = np.array(start) + ALONG * (np.array(end) - np.array(start))
        font = self.canvas.small
        places = [self._place((x, y), (2.0, -DESCENT * font), text, font) for x, y in points]
        areas = [self._areas(place, (0.0, 0.0)) for place in places]
        costs = [np.inf if covered[:3].any() else float(covered @ COSTS) for covered in areas]
        best = int(np.argmin(costs))
        if costs[best] == np.inf:
            return None
        self._take(places[best])
        return float(points[best][0]), float(points[best][1])

    def _place(self, point: Point, start: Point, text: str, font: float) -> list[Floats]:
        """The box of a label (left, top, right, bottom) in each size, its baseline at `start`, seen from `point`."""
        width = LETTER * font * len(text)
        box = np.array([0.0, -ASCENT * font, width, DESCENT * font]) + np.array([*start, *start])
        return [np.tile(at[0], 2) + box for at in self.canvas.at(np.array([point]))]

    def _areas(self, place: Sequence[Floats], room: Point) -> Floats:
        """How much of other labels, of what lies beside the plot, of marks and of trials a label covers here."""
        covered = np.zeros(4)
        for box, size, labels, marks, trials in zip(
            place, self.canvas.sizes, self._labels, self._marks, self._trials, strict=True
        ):
            plot = np.array([[0.0, -room[0], size[0] + room[1], size[1]]])
            area = float((box[2] - box[0]) * (box[3] - box[1]))
            covered += [shared(box, labels), area - shared(box, plot), shared(box, marks), shared(box, trials)]
        return np.where(covered < 1e-6, 0.0, covered)

    def _take(self, place: Sequence[Floats]) -> None:
        self._labels = [np.vstack([labels, box]) for labels, box in zip(self._labels, place, strict=True)]


def shared(box: Floats, others: Floats) -> float:
    """The area that `box` (left, top, right, bottom) has in common with `others` (n, 4), added up.

    >>> shared(np.array([0, 0, 2, 2]), np.array([[1, 1, 3, 3], [5, 5, 6, 6]]))
    1.0
    """
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((width.clip(0) * height.clip(0)).sum())
