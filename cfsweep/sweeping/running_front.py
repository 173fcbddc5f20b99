"""A front of two objectives that grows point by point."""

from __future__ import annotations

from bisect import bisect_left


class RunningFront:
    """The points that no other one beats, both coordinates to be maximised; equal points stay side by side.

    >>> front = RunningFront()
    >>> for point in [(0.5, 0.5), (0.9, 0.1), (0.5, 0.5), (0.5, 0.4), (0.6, 0.3)]:
    ...     front.add(point)
    >>> front.points
    [(0.5, 0.5), (0.5, 0.5), (0.6, 0.3), (0.9, 0.1)]
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []  # the first coordinate rises, so the second one falls

    def add(self, point: tuple[float, float]) -> None:
        at = bisect_left(self.points, point)
        if at < len(self.points) and self.points[at] != point and self.points[at][1] >= point[1]:
            return
        begin = at
        while begin and self.points[begin - 1][1] <= point[1]:
            begin -= 1
        self.points[begin:at] = [point]
