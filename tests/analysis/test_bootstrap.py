"""Resampled seeds: the same ones for every trial."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.bootstrap import interval, resampled_means


def test_resampled_means_pair_the_seeds() -> None:
    values = np.array([[1.0, 2.0, 6.0], [11.0, 12.0, 16.0]])
    means = resampled_means(values, resamples=500)
    assert means.shape == (500, 2)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(500, 10.0))
    assert means[:, 0].mean() == pytest.approx(3.0, abs=0.3)
    assert set(np.round(means[:, 0] * 3).astype(int)) <= {
        a + b + c for a in (1, 2, 6) for b in (1, 2, 6) for c in (1, 2, 6)
    }
    assert interval(means[:, 0])[0] >= 1.0
