"""Student's interval of paired differences."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
LEAST_SEEDS = 3


def paired(differences: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """The mean of paired `differences` (n_seeds,), and the ends of its 95 % interval; None with fewer than three seeds.

    It covers what it says where differences are Gaussian, and about that where they are not far from it.

    >>> [round(number, 4) for number in paired(np.array([0.01, 0.02, 0.03]))]  # 0.02 ± 4.303 · 0.01 / √3
    [0.02, -0.0048, 0.0448]

    References:
        Student 1908, "The probable error of a mean", section VII (paired differences).
    """
    n = len(differences)
    if n < LEAST_SEEDS:
        return None
    from scipy.special import stdtrit

    mean = float(differences.mean())
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(differences.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half
