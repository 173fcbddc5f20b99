"""Every metric: a case by hand, a slow obvious twin on random matrices, and what must hold between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfsweep import metrics
from cfsweep.metrics import (
    ALL_METRICS,
    METRICS,
    CurvePoint,
    Matrix,
    Metric,
    UndefinedError,
    mixed,
    mixed_after,
    summarise,
)

R = np.array([[0.9, 0.4, 0.5], [0.8, 0.95, 0.6], [0.7, 0.85, 0.99]])
BEFORE = np.array([0.5, 0.45, 0.55])
JOINT = np.array([[0.92, 0.1, 0.1], [0.9, 0.9, 0.1], [0.9, 0.9, 0.98]])
# Task 0 dips to 0.3 while task 1 is trained; the 0.1 is before it was finished.
CURVES: list[CurvePoint] = [
    (0, 5, 0, 0.1),
    (1, 5, 0, 0.3),
    (1, 5, 1, 0.2),
    (2, 5, 0, 0.75),
    (2, 5, 1, 0.9),
    (2, 5, 2, 0),
]

BY_HAND = {
    "average_score": (0.7 + 0.85 + 0.99) / 3,
    "average_incremental_score": (0.9 + (0.8 + 0.95) / 2 + (0.7 + 0.85 + 0.99) / 3) / 3,
    "stability": (0.7 + 0.85) / 2,
    "plasticity": (0.9 + 0.95 + 0.99) / 3,
    "backward_transfer": ((0.7 - 0.9) + (0.85 - 0.95)) / 2,
    "forward_transfer": ((0.4 - 0.45) + (0.6 - 0.55)) / 2,
    "forgetting_max_before_last": ((0.9 - 0.7) + (0.95 - 0.85)) / 2,
    "forgetting_max_including_last": ((0.9 - 0.7) + (0.95 - 0.85)) / 2,
    "forgetting_first_minus_last": ((0.9 - 0.7) + (0.95 - 0.85)) / 2,
    "retention_ratio": (0.7 / 0.9 + 0.85 / 0.95) / 2,
    "score_over_time": (0.9 + 0.8 + 0.95 + 0.7 + 0.85 + 0.99) / 6,
    "backward_transfer_over_time": ((0.8 - 0.9) + (0.7 - 0.9) + (0.85 - 0.95)) / 3,
    "remembering": 1 - (0.1 + 0.2 + 0.1) / 3,
    "positive_backward_transfer": 0.0,
    "average_minimum_score": (0.3 + 0.85) / 2,
    "worst_case_score": 0.99 / 3 + (2 / 3) * (0.3 + 0.85) / 2,
    "intransigence": ((0.92 - 0.9) + (0.9 - 0.95) + (0.98 - 0.99)) / 3,
}

Rows = list[list[float]]


def mean(terms: list[float]) -> float:
    return sum(terms) / len(terms)


def pairs_before(n: int) -> list[tuple[int, int]]:
    return [(t, i) for t in range(n) for i in range(n) if i < t]


def slow_over_time(r: Rows) -> float:
    n = len(r)
    return sum(r[t][i] - r[i][i] for t, i in pairs_before(n)) / (n * (n - 1) / 2)


def slow_lowest(r: Rows, curves: list[CurvePoint]) -> float:
    """All evaluations in the order in which they were made, from the moment at which a task was finished."""
    lowest = []
    for task in range(len(r) - 1):
        made = []
        for later in range(task + 1, len(r)):
            made += [accuracy for t, _, seen, accuracy in curves if t == later and seen == task]
            made.append(r[later][task])
        lowest.append(min(made))
    return mean(lowest)


def slow(name: str, r: Rows, b: list[float], curves: list[CurvePoint], joint: Rows) -> float:
    """The definitions as loops over cells."""
    n, last = len(r), len(r) - 1
    old = range(last)
    twins = {
        "average_score": lambda: mean([r[last][i] for i in range(n)]),
        "average_incremental_score": lambda: mean([mean([r[t][i] for i in range(t + 1)]) for t in range(n)]),
        "stability": lambda: mean([r[last][i] for i in old]),
        "plasticity": lambda: mean([r[i][i] for i in range(n)]),
        "backward_transfer": lambda: mean([r[last][i] - r[i][i] for i in old]),
        "forward_transfer": lambda: mean([r[i - 1][i] - b[i] for i in range(1, n)]),
        "forgetting_max_before_last": lambda: mean([max(r[t][i] for t in range(i, last)) - r[last][i] for i in old]),
        "forgetting_max_including_last": lambda: mean([max(r[t][i] for t in range(i, n)) - r[last][i] for i in old]),
        "forgetting_first_minus_last": lambda: mean([r[i][i] - r[last][i] for i in old]),
        "retention_ratio": lambda: mean([r[last][i] / r[i][i] for i in old]),
        "score_over_time": lambda: sum(r[t][i] for t in range(n) for i in range(t + 1)) / (n * (n + 1) / 2),
        "backward_transfer_over_time": lambda: slow_over_time(r),
        "remembering": lambda: 1 - abs(min(slow_over_time(r), 0)),
        "positive_backward_transfer": lambda: max(slow_over_time(r), 0),
        "average_minimum_score": lambda: slow_lowest(r, curves),
        "worst_case_score": lambda: 1 / n * r[last][last] + (1 - 1 / n) * slow_lowest(r, curves),
        "intransigence": lambda: mean([joint[k][k] - r[k][k] for k in range(n)]),
    }
    return twins[name]()


def slow_mixed(r: Rows, weight: float) -> float:
    total = 0.0
    for t in range(1, len(r)):
        total += weight * sum(r[t][:t]) / t + (1 - weight) * r[t][t]
    return total / (len(r) - 1)


def tenths(draw: np.random.Generator, *shape: int, low: int = 0) -> Matrix:
    """Random accuracies with many ties."""
    return draw.integers(low, 11, size=shape) / 10


def random_curves(draw: np.random.Generator, n_tasks: int) -> list[CurvePoint]:
    places = [(t, step, i) for t in range(n_tasks) for step in (3, 6) for i in range(t + 1)]
    return [(t, step, i, float(tenths(draw))) for t, step, i in places]


def value_of(metric: Metric, matrix: Matrix, before: Matrix, curves: list[CurvePoint], joint: Matrix) -> float:
    beside = {None: (), "untrained": (before,), "curves": (curves,), "joint": (joint,)}[metric.beside]
    return metric.formula(matrix, *beside)


def test_by_hand() -> None:
    values, missing = summarise(R, BEFORE, "task-il", n_tasks=3, curves=CURVES)
    assert values == pytest.approx({name: value for name, value in BY_HAND.items() if name != "intransigence"})
    assert missing == {}
    assert metrics.intransigence(R, JOINT) == pytest.approx(BY_HAND["intransigence"])


@pytest.mark.parametrize("metric", ALL_METRICS, ids=lambda metric: metric.name)
def test_slow_twins_on_matrices_with_ties(metric: Metric) -> None:
    draw = np.random.default_rng(3)
    for n_tasks in [2, 3, 5, 10] * 25:
        matrix, before, joint = (
            tenths(draw, n_tasks, n_tasks, low=1),
            tenths(draw, n_tasks),
            tenths(draw, n_tasks, n_tasks),
        )
        curves = random_curves(draw, n_tasks)
        found = value_of(metric, matrix, before, curves, joint)
        assert found == pytest.approx(slow(metric.name, matrix.tolist(), before.tolist(), curves, joint.tolist()))


@pytest.mark.parametrize("metric", ALL_METRICS, ids=lambda metric: metric.name)
def test_values_lie_in_their_bounds_and_reach_them(metric: Metric) -> None:
    draw = np.random.default_rng(11)
    found = []
    for _ in range(3000):
        matrix, joint = draw.integers(0, 2, (2, 2)).astype(float), draw.integers(0, 2, (2, 2)).astype(float)
        try:
            found.append(value_of(metric, matrix, draw.integers(0, 2, 2).astype(float), random_curves(draw, 2), joint))
        except UndefinedError:
            assert metric.name == "retention_ratio"
    low, high = metric.bounds
    assert min(found) == low
    assert max(found) == (1 if high == float("inf") else high)


def test_retention_may_exceed_1() -> None:
    assert metrics.retention_ratio(np.array([[0.2, 0.0], [0.8, 0.9]])) == pytest.approx(4)


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
    assert metrics.retention_ratio(np.full((3, 3), 0.1)) == pytest.approx(1)


def test_the_average_is_stability_and_the_last_task() -> None:
    assert metrics.average_score(R) == pytest.approx((2 * metrics.stability(R) + R[-1, -1]) / 3)


def test_how_the_variants_of_forgetting_relate() -> None:
    draw = np.random.default_rng(6)
    for n_tasks in [2, 3, 6] * 20:
        matrix = tenths(draw, n_tasks, n_tasks)
        first, before = metrics.forgetting_first_minus_last(matrix), metrics.forgetting_max_before_last(matrix)
        assert first == pytest.approx(-metrics.backward_transfer(matrix))
        assert first <= before + 1e-12
        old = range(n_tasks - 1)
        each = [matrix[i:-1, i].max() - matrix[-1, i] for i in old]
        assert metrics.forgetting_max_including_last(matrix) == pytest.approx(mean([max(0.0, f) for f in each]))
    peaked = np.array([[0.9, 0.1, 0.1], [0.8, 0.9, 0.1], [0.7, 0.8, 0.9]])
    assert metrics.forgetting_max_before_last(peaked) == pytest.approx(-metrics.backward_transfer(peaked))


def test_with_two_tasks_both_backward_transfers_are_one() -> None:
    draw = np.random.default_rng(7)
    for _ in range(20):
        matrix = tenths(draw, 2, 2)
        assert metrics.backward_transfer_over_time(matrix) == pytest.approx(metrics.backward_transfer(matrix))
    apart = np.array([[1.0, 0, 0], [0.0, 1, 0], [1.0, 1, 1]])
    assert metrics.backward_transfer(apart) == 0
    assert metrics.backward_transfer_over_time(apart) == pytest.approx(-1 / 3)


def test_remembering_and_positive_backward_transfer_split_it() -> None:
    draw = np.random.default_rng(8)
    signs = set()
    for _ in range(50):
        matrix = tenths(draw, 3, 3)
        lost, won = metrics.remembering(matrix) - 1, metrics.positive_backward_transfer(matrix)
        assert lost + won == pytest.approx(metrics.backward_transfer_over_time(matrix))
        assert lost == 0 or won == 0
        signs.add((lost < 0, won > 0))
    assert {(True, False), (False, True)} <= signs


def test_the_worst_case_is_at_most_the_average_and_equal_without_a_dip() -> None:
    draw = np.random.default_rng(9)
    for n_tasks in [2, 3, 6] * 20:
        matrix, curves = tenths(draw, n_tasks, n_tasks), random_curves(draw, n_tasks)
        assert metrics.average_minimum_score(matrix, curves) <= metrics.stability(matrix) + 1e-12
        assert metrics.worst_case_score(matrix, curves) <= metrics.average_score(matrix) + 1e-12
    calm = [(1, 5, 0, 0.8), (2, 5, 0, 0.75), (2, 5, 1, 0.9)]
    assert metrics.worst_case_score(R, calm) == pytest.approx(metrics.average_score(R))


def test_what_happened_before_a_task_was_finished_does_not_count_against_it() -> None:
    noise: list[CurvePoint] = [(0, 1, 0, 0.0), (1, 1, 1, 0.0), (2, 1, 2, 0.0)]
    assert metrics.average_minimum_score(R, noise) == pytest.approx((0.7 + 0.85) / 2)


def test_the_joint_reference_is_not_intransigent() -> None:
    assert metrics.intransigence(JOINT, JOINT) == 0
    assert metrics.intransigence(R, JOINT) == pytest.approx(metrics.plasticity(JOINT) - metrics.plasticity(R))


def test_one_task_leaves_what_needs_two_undefined_with_the_reason() -> None:
    values, missing = summarise(np.array([[0.9]]), np.array([0.5]), "task-il", n_tasks=1, curves=[(0, 5, 0, 0.7)])
    defined = {"average_score", "average_incremental_score", "plasticity", "score_over_time"}
    assert {name: values[name] for name in defined} == dict.fromkeys(defined, 0.9)
    assert set(missing) == {name for name, value in values.items() if value is None}
    assert {missing[name] for name in ("stability", "backward_transfer", "forgetting_max_before_last")} == {
        "needs at least 2 tasks"
    }


def test_a_run_that_ended_early_has_no_metric() -> None:
    for done in (0, 1, 2):
        values, missing = summarise(R[:done], BEFORE, "task-il", n_tasks=3, curves=CURVES)
        assert set(values.values()) == {None}
        assert set(missing) == set(values)
        assert set(missing.values()) == {f"ended after {done} of 3 tasks"}


def test_forward_transfer_is_undefined_where_unseen_classes_cannot_be_predicted() -> None:
    values, missing = summarise(R, BEFORE, "class-il", n_tasks=3, curves=CURVES)
    assert values["forward_transfer"] is None
    assert missing == {"forward_transfer": "a class not yet seen cannot be predicted in class-il"}
    assert values["stability"] == pytest.approx(BY_HAND["stability"])


def test_the_worst_case_is_undefined_without_curves() -> None:
    values, missing = summarise(R, BEFORE, "domain-il", n_tasks=3)
    needing = ("average_minimum_score", "worst_case_score")
    assert [values[name] for name in needing] == [None, None]
    assert missing == dict.fromkeys(needing, "needs curve_points_per_task > 0")


def test_retention_is_undefined_where_nothing_was_learned() -> None:
    nothing = R.copy()
    nothing[1, 1] = 0
    values, missing = summarise(nothing, BEFORE, "task-il", n_tasks=3, curves=CURVES)
    assert values["retention_ratio"] is None
    assert missing == {"retention_ratio": "the score on task 1 was 0 right after it was learned"}
    nothing = R.copy()
    nothing[2, 2] = 0  # the last task has nothing to retain yet
    assert summarise(nothing, BEFORE, "task-il", n_tasks=3)[0]["retention_ratio"] == pytest.approx(
        BY_HAND["retention_ratio"]
    )


def test_what_is_undefined_is_said_in_the_catalogue() -> None:
    """Each reason that can come up belongs to a metric that announces it, and the other way round."""
    zeros, before = np.zeros((3, 3)), np.zeros(3)
    found: dict[str, set[str]] = {metric.name: set() for metric in METRICS}
    for scenario in ("task-il", "domain-il", "class-il"):
        for name, reason in summarise(zeros, before, scenario, n_tasks=3)[1].items():
            found[name].add(reason)
    for metric in METRICS:
        assert bool(found[metric.name]) == bool(metric.undefined_in or metric.undefined_if)


def test_names_say_which_forgetting() -> None:
    names = [metric.name for metric in ALL_METRICS]
    assert len(set(names)) == len(names)
    assert "forgetting" not in names
    assert all(metric.definition and metric.source for metric in ALL_METRICS)
    assert set(BY_HAND) == set(names)


def documented(metric: Metric) -> str:
    """The metric's row in docs/metrics.md."""
    low, high = metric.bounds
    bounds = f"[{low:g}, ∞)" if high == float("inf") else f"[{low:g}, {high:g}]"
    undefined = [f"T < {metric.min_tasks}"] if metric.min_tasks > 1 else []
    undefined += metric.undefined_in
    undefined += [metric.undefined_if] if metric.undefined_if else []
    better = "more" if metric.higher_is_better else "less"
    cells = (f"`{metric.name}`", f"`{metric.definition}`", metric.source, bounds, better, "; ".join(undefined) or "–")
    return f"| {' | '.join(cells)} |"


def test_the_documentation_is_the_catalogue(project_root: Path) -> None:
    lines = (project_root / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    head = lines.index("| metric | definition | source | range | better | undefined |")
    table = lines[head + 2 : lines.index("", head)]
    assert table == [documented(metric) for metric in ALL_METRICS]
