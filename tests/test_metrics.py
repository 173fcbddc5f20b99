"""Every metric: a case by hand, and a slow obvious twin on random matrices."""

from __future__ import annotations

import numpy as np
import pytest

from cfsweep import metrics
from cfsweep.metrics import METRICS, mixed, mixed_after, summarise

R = np.array([[0.9, 0.4, 0.5], [0.8, 0.95, 0.6], [0.7, 0.85, 0.99]])
BEFORE = np.array([0.5, 0.45, 0.55])

BY_HAND = {
    "average_accuracy": (0.7 + 0.85 + 0.99) / 3,
    "average_incremental_accuracy": (0.9 + (0.8 + 0.95) / 2 + (0.7 + 0.85 + 0.99) / 3) / 3,
    "stability": (0.7 + 0.85) / 2,
    "plasticity": (0.9 + 0.95 + 0.99) / 3,
    "backward_transfer": ((0.7 - 0.9) + (0.85 - 0.95)) / 2,
    "forward_transfer": ((0.4 - 0.45) + (0.6 - 0.55)) / 2,
    "forgetting_max_before_last": ((0.9 - 0.7) + (0.95 - 0.85)) / 2,
}


def slow(name: str, r: list[list[float]], b: list[float]) -> float:
    """The definitions as loops over cells."""
    last = len(r) - 1
    if name == "average_accuracy":
        terms = [r[last][i] for i in range(last + 1)]
    elif name == "average_incremental_accuracy":
        terms = [sum(r[t][i] for i in range(t + 1)) / (t + 1) for t in range(last + 1)]
    elif name == "stability":
        terms = [r[last][i] for i in range(last)]
    elif name == "plasticity":
        terms = [r[i][i] for i in range(last + 1)]
    elif name == "backward_transfer":
        terms = [r[last][i] - r[i][i] for i in range(last)]
    elif name == "forward_transfer":
        terms = [r[i - 1][i] - b[i] for i in range(1, last + 1)]
    else:
        terms = [max(r[t][i] for t in range(i, last)) - r[last][i] for i in range(last)]
    return sum(terms) / len(terms)


def slow_mixed(r: list[list[float]], weight: float) -> float:
    total = 0.0
    for t in range(1, len(r)):
        total += weight * sum(r[t][:t]) / t + (1 - weight) * r[t][t]
    return total / (len(r) - 1)


def test_by_hand() -> None:
    values, missing = summarise(R, BEFORE, "task-il", n_tasks=3)
    assert values == pytest.approx(BY_HAND)
    assert missing == {}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_slow_twins(metric: metrics.Metric) -> None:
    draw = np.random.default_rng(3)
    for n_tasks in [2, 3, 5, 10] * 10:
        matrix, before = draw.random((n_tasks, n_tasks)), draw.random(n_tasks)
        assert metric.formula(matrix, before) == pytest.approx(slow(metric.name, matrix.tolist(), before.tolist()))


def test_mixed_by_hand_and_against_its_twin() -> None:
    after_1, after_2 = 0.5 * 0.8 + 0.5 * 0.95, 0.5 * (0.7 + 0.85) / 2 + 0.5 * 0.99
    assert mixed_after(R, 1, 0.5) == pytest.approx(after_1)
    assert mixed(R) == pytest.approx((after_1 + after_2) / 2)
    assert mixed(R, old_weight=1.0) == pytest.approx((0.8 + (0.7 + 0.85) / 2) / 2)
    draw = np.random.default_rng(4)
    for n_tasks in (2, 4, 7):
        matrix, weight = draw.random((n_tasks, n_tasks)), float(draw.random())
        assert mixed(matrix, weight) == pytest.approx(slow_mixed(matrix.tolist(), weight))
    with pytest.raises(ValueError, match="at least two tasks"):
        mixed(np.array([[0.9]]))


def test_stability_and_plasticity_share_no_cell() -> None:
    draw = np.random.default_rng(5)
    for _ in range(20):
        matrix = draw.random((4, 4))
        changed = matrix.copy()
        np.fill_diagonal(changed, draw.random(4))
        assert metrics.stability(changed) == metrics.stability(matrix)
        changed = matrix.copy()
        changed[-1, :-1] = 0
        assert metrics.plasticity(changed) == metrics.plasticity(matrix)


def test_a_network_that_learns_nothing_is_not_stable() -> None:
    assert metrics.stability(np.full((3, 3), 0.1)) == pytest.approx(0.1)
    assert metrics.forgetting_max_before_last(np.full((3, 3), 0.1)) == pytest.approx(0)


def test_the_average_is_stability_and_the_last_task() -> None:
    assert metrics.average_accuracy(R) == pytest.approx((2 * metrics.stability(R) + R[-1, -1]) / 3)


def test_forgetting_and_backward_transfer_mirror_when_the_peak_is_at_learning() -> None:
    matrix = np.array([[0.9, 0.1, 0.1], [0.8, 0.9, 0.1], [0.7, 0.8, 0.9]])
    assert metrics.forgetting_max_before_last(matrix) == pytest.approx(-metrics.backward_transfer(matrix))


def test_one_task_leaves_what_needs_two_undefined_with_the_reason() -> None:
    values, missing = summarise(np.array([[0.9]]), np.array([0.5]), "task-il", n_tasks=1)
    undefined = {"stability", "backward_transfer", "forward_transfer", "forgetting_max_before_last"}
    assert {name for name, value in values.items() if value is None} == undefined == set(missing)
    assert set(missing.values()) == {"needs at least 2 tasks"}
    assert values["plasticity"] == 0.9


def test_a_run_that_ended_early_has_no_metric() -> None:
    for done in (0, 1, 2):
        values, missing = summarise(R[:done], BEFORE, "task-il", n_tasks=3)
        assert set(values.values()) == {None}
        assert set(missing.values()) == {f"ended after {done} of 3 tasks"}


def test_forward_transfer_is_undefined_where_unseen_classes_cannot_be_predicted() -> None:
    values, missing = summarise(R, BEFORE, "class-il", n_tasks=3)
    assert values["forward_transfer"] is None
    assert missing == {"forward_transfer": "a class not yet seen cannot be predicted in class-il"}
    assert values["stability"] == pytest.approx(BY_HAND["stability"])


def test_names_say_which_forgetting() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert "forgetting" not in names
    assert all(metric.definition and metric.source for metric in METRICS)
