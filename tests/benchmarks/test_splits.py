"""The spread over seeds and splits: what is trained, and what is made of it."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np

from benchmarks import splits
from cfsweep.config import StreamConfig
from cfsweep.training.streams import load_stream


def test_spread_by_hand() -> None:
    assert doctest.testmod(splits).failed == 0
    assert splits.spread(np.full((3, 3), 0.5)) == (0.0, 0.0)
    rows = np.repeat([[0.0], [1.0], [2.0]], 3, axis=1)
    assert splits.spread(rows) == (0.0, 1.0), "all of it is the split"
    assert splits.spread(rows.T) == (1.0, 1.0), "all of it is the seed"


def test_each_seed_is_trained_on_each_split() -> None:
    stream = load_stream(StreamConfig(splits=2, n_tasks=2))
    found = splits.average_accuracies(stream, "ewc", 3)
    assert found.shape == (2, 2, 3)
    alone = (replace(stream.of_split(number), other_splits=()) for number in range(2))
    apart = [splits.average_accuracies(one, "ewc", 3) for one in alone]
    assert np.array_equal(found, np.concatenate(apart, axis=1))
    assert not np.array_equal(found[:, 0], found[:, 1])
