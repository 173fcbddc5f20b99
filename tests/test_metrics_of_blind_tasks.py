"""Metrics where a task has no score: by hand, and those of a matrix without that task."""

from __future__ import annotations

import numpy as np
import pytest

from cfsweep import metrics
from cfsweep.metrics import METRICS, UndefinedError, mixed, summarise

NAN = np.nan
MATRIX = np.array([[0.9, NAN, 0.5], [0.8, NAN, 0.4], [0.6, NAN, 0.7]])
UNTRAINED = np.array([0.5, NAN, 0.3])


def test_by_hand() -> None:
    """Of the three tasks the second one has no score."""
    values, missing = summarise(MATRIX, UNTRAINED, "domain-il", 3)
    expected = {
        "average_score": (0.6 + 0.7) / 2,
        "average_incremental_score": (0.9 + 0.8 + (0.6 + 0.7) / 2) / 3,
        "stability": 0.6,
        "plasticity": (0.9 + 0.7) / 2,
        "backward_transfer": 0.6 - 0.9,
        "forward_transfer": 0.4 - 0.3,
        "forgetting_max_before_last": 0.9 - 0.6,
        "forgetting_max_including_last": 0.9 - 0.6,
        "forgetting_first_minus_last": 0.9 - 0.6,
        "retention_ratio": 0.6 / 0.9,
        "score_over_time": (0.9 + 0.8 + 0.6 + 0.7) / 4,
        "backward_transfer_over_time": ((0.8 - 0.9) + (0.6 - 0.9)) / 2,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value), name
    assert set(missing) == {"average_minimum_score", "worst_case_score"}, "which need curves"


def test_mixed_counts_the_moments_at_which_old_and_new_have_a_score() -> None:
    """After the second task there is nothing new; after the third there is."""
    assert mixed(MATRIX) == pytest.approx((0.6 + 0.7) / 2)
    blind_first = np.array([[NAN, 0.5, 0.5], [NAN, 0.8, 0.4], [NAN, 0.6, 0.7]])
    assert mixed(blind_first) == pytest.approx((0.6 + 0.7) / 2), "after the second task nothing is old"
    with pytest.raises(UndefinedError, match="no value on any of the tasks that count"):
        mixed(np.full((3, 3), NAN))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_where_no_task_has_one_there_is_a_reason(metric: metrics.Metric) -> None:
    values, missing = summarise(np.full((3, 3), NAN), np.full(3, NAN), "domain-il", 3, [(1, 5, 0, NAN)])
    assert values[metric.name] is None
    assert missing[metric.name]


def test_what_makes_no_sense_for_a_score_is_null_with_the_reason() -> None:
    values, missing = summarise(-MATRIX, -UNTRAINED, "domain-il", 3, score=(-np.inf, 0.0))
    assert values["average_score"] == pytest.approx(-(0.6 + 0.7) / 2)
    assert missing["retention_ratio"] == "a share of a score needs one that is never below 0"
    assert missing["remembering"] == "needs a score that lies in [0, 1]"


@pytest.mark.parametrize("blind", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_no_value_is_nan_whichever_tasks_have_none(blind: tuple[int, ...]) -> None:
    matrix, untrained = np.random.default_rng(0).random((3, 3)), np.full(3, 0.5)
    matrix[:, list(blind)], untrained[list(blind)] = NAN, NAN
    curves = [(t, 5, i, float(matrix[t, i])) for t in range(3) for i in range(t + 1)]
    values, missing = summarise(matrix, untrained, "domain-il", 3, curves)
    assert all(value is None or np.isfinite(value) for value in values.values())
    assert {name for name, value in values.items() if value is None} == set(missing)
