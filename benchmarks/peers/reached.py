"""What a user waits for: how long each sweep takes to what another has found in the end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fronts import hypervolume

MEASURES = ("objective", "hypervolume")


@dataclass(frozen=True)
class Found:
    """What one trial came to, and the clock time at which its sweep knew it."""

    at: float
    objective: float
    stability: float
    plasticity: float


def bests(found: Sequence[Found], measure: str) -> list[tuple[float, float]]:
    """(clock time, best so far), one for each trial in the order of their ends: the greatest `objective`, or the
    `hypervolume` of stability and plasticity beyond (0, 0).

    >>> trials = [Found(1.0, 0.5, 0.5, 0.5), Found(2.0, 0.4, 0.2, 1.0)]
    >>> bests(trials, "objective"), bests(trials, "hypervolume")
    ([(1.0, 0.5), (2.0, 0.5)], [(1.0, 0.25), (2.0, 0.35)])
    """
    ordered = sorted(found, key=lambda each: each.at)
    points = np.array([[each.stability, each.plasticity] for each in ordered])
    so_far = {
        "objective": lambda n: max(each.objective for each in ordered[:n]),
        "hypervolume": lambda n: hypervolume(points[:n], (True, True), (0.0, 0.0)),
    }[measure]
    return [(each.at, so_far(number)) for number, each in enumerate(ordered, 1)]


def reached(found: Sequence[Found], measure: str, target: float) -> float | None:
    """The clock time at which the best so far is at least `target`; None if it never is.

    >>> trials = [Found(1.0, 0.5, 0.5, 0.5), Found(2.0, 0.7, 0.7, 0.7)]
    >>> reached(trials, "objective", 0.6), reached(trials, "objective", 0.8)
    (2.0, None)
    """
    return next((at for at, best in bests(found, measure) if best >= target), None)
