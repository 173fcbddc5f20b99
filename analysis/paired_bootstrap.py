"""A score of two models on the same examples, of which nothing is known but how to compute it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.uncertainty import Estimate, interval

DRAWS = 1_000


def difference(
    of: Callable[[NDArray[np.int64]], tuple[float, float]], n_examples: int, draws: int = DRAWS
) -> Estimate | None:
    """The second score less the first on all examples, and its interval for others like these: the percentile interval
    over samples with replacement, the same examples for both, always by the same random numbers. None where the scores
    have no value; samples on which they have none are left out.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3 (the percentile interval).

    >>> right = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    >>> difference(lambda examples: tuple(right[:, examples].mean(1).tolist()), 4)
    Estimate(value=-0.25, interval=(-0.75, 0.0))
    """
    first, second = of(np.arange(n_examples))
    if np.isnan(second - first):
        return None
    rng = np.random.default_rng(0)
    pairs = np.array([of(rng.integers(0, n_examples, n_examples)) for _ in range(draws)])
    found = pairs[:, 1] - pairs[:, 0]
    return Estimate(second - first, interval(found[~np.isnan(found)]))
