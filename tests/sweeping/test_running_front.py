"""The front that grows point by point is the one that moocore finds at once."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from cfsweep.sweeping.running_front import RunningFront


@pytest.mark.parametrize("n_values", [3, 10, 10**6])  # few values: many ties
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_front_of_all_points(seed: int, n_values: int) -> None:
    points = np.random.default_rng(seed).integers(0, n_values, (200, 2)) / n_values
    front = RunningFront()
    for n, (first, second) in enumerate(points.tolist(), start=1):
        front.add((first, second))
        if n % 20 == 0:
            leads = moocore.is_nondominated(points[:n], maximise=True, keep_weakly=True)
            assert sorted(front.points) == sorted(map(tuple, points[:n][leads].tolist()))
