"""The interval of a paired difference: against a slow twin, and how often it holds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.paired_bootstrap import difference
from analysis.uncertainty import Interval


def right_of(seed: int, n: int, shared: float = 0.9) -> NDArray[np.bool_]:
    """What two models answer rightly, (2, n): of most examples both or neither."""
    rng = np.random.default_rng(seed)
    one = rng.random(n) < 0.7
    return np.stack([one, np.where(rng.random(n) < shared, one, rng.random(n) < 0.7)])


def interval_of(right: NDArray[np.bool_], draws: int) -> Interval:
    found = difference(lambda chosen: (right[0, chosen].mean(), right[1, chosen].mean()), right.shape[1], draws)
    assert found is not None
    assert found.value == right[1].mean() - right[0].mean()
    return found.interval


def test_it_is_what_a_loop_over_samples_gives() -> None:
    right = right_of(1, 30)
    rng, differences = np.random.default_rng(0), []
    for _ in range(200):
        chosen = rng.integers(0, 30, 30).tolist()
        differences.append(sum(int(right[1, i]) - int(right[0, i]) for i in chosen) / 30)
    assert interval_of(right, 200) == pytest.approx(np.quantile(differences, [0.025, 0.975]).tolist())


def test_pairs_make_it_narrow() -> None:
    """Where the models agree on 9 of 10 examples, far narrower than of examples drawn apart."""
    low, high = interval_of(right_of(2, 200), 500)
    apart = 2 * 1.96 * (2 * 0.7 * 0.3 / 200) ** 0.5
    assert high - low < 0.6 * apart


def test_it_holds_about_as_often_as_it_says() -> None:
    """The true difference is 0: both answer 0.7 rightly."""
    held = [low <= 0 <= high for low, high in (interval_of(right_of(seed, 200), 300) for seed in range(200))]
    assert 0.90 <= np.mean(held) <= 0.99


def test_without_a_value_there_is_none_and_samples_without_one_are_left_out() -> None:
    assert difference(lambda chosen: (np.nan, 0.5), 10) is None

    def where_the_first_is_drawn(chosen: NDArray[np.int64]) -> tuple[float, float]:
        return (0.25, 0.5) if 0 in chosen else (np.nan, np.nan)

    found = difference(where_the_first_is_drawn, 10)
    assert found is not None
    assert found.interval == (0.25, 0.25)
