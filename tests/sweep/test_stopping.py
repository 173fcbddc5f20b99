"""Who is stopped: Optuna's median rule, and non-dominated sorting against a slow obvious twin."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from cfsweep.config import ObjectiveConfig
from cfsweep.metrics import mixed, plasticity, stability
from cfsweep.sweep.stopping import STARTUP_TRIALS, MedianStopper, RankStopper, intermediate


def study() -> optuna.Study:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return optuna.create_study(direction="maximize", pruner=pruner)


def test_the_median_of_those_that_came_as_far_decides() -> None:
    stopper, sweep = MedianStopper(), study()
    for i in range(STARTUP_TRIALS):
        trial = sweep.ask()
        assert not stopper.stops(trial, 1, (i / 10,))  # too few to judge by
        sweep.tell(trial, i / 10)
    median = float(np.median([i / 10 for i in range(STARTUP_TRIALS)]))
    assert not stopper.stops(sweep.ask(), 1, (median + 0.01,))
    loser = sweep.ask()
    assert stopper.stops(loser, 1, (median - 0.01,))
    assert sweep.trials[loser.number].intermediate_values == {1: median - 0.01}


def slow_rank(point: tuple[float, ...], points: list[tuple[float, ...]]) -> int:
    """The front that `point` lies on, by peeling: O(n^3) and obvious."""
    left, rank = list(points), 0
    while True:
        front = [p for p in left if not any(all(a >= b for a, b in zip(q, p, strict=True)) and q != p for q in left)]
        if point in front:
            return rank
        left = [p for p in left if p not in front]
        rank += 1


@pytest.mark.parametrize("seed", range(5))
def test_ranks_agree_with_the_twin_also_with_ties(seed: int) -> None:
    rng, stopper, seen = np.random.default_rng(seed), RankStopper(), []
    verdicts = []
    for _ in range(60):
        value = (float(rng.integers(6)) / 5, float(rng.integers(6)) / 5)
        seen.append(value)
        ranks = [slow_rank(p, seen) for p in seen]
        expected = len(seen) > STARTUP_TRIALS and ranks[-1] > np.median(ranks)
        verdicts.append(stopper.stops(None, 1, value))  # type: ignore[arg-type]
        assert verdicts[-1] == expected
    assert 0 < sum(verdicts) < 40


def test_rungs_are_judged_apart() -> None:
    stopper = RankStopper()
    for i in range(2 * STARTUP_TRIALS):
        stopper.stops(None, 1, (float(i), float(i)))  # type: ignore[arg-type]
    assert not stopper.stops(None, 2, (0.0, 0.0))  # type: ignore[arg-type]
    assert stopper.stops(None, 1, (-1.0, -1.0))  # type: ignore[arg-type]


def test_after_the_last_task_the_intermediate_objective_is_the_objective() -> None:
    matrix = np.random.default_rng(0).random((5, 5))
    assert intermediate(matrix, ObjectiveConfig(old_weight=0.3)) == pytest.approx((mixed(matrix, 0.3),))
    assert intermediate(matrix, ObjectiveConfig(name="pareto")) == pytest.approx(
        (stability(matrix), plasticity(matrix))
    )


def test_in_between_it_sees_only_the_tasks_done() -> None:
    matrix = np.random.default_rng(1).random((3, 5))
    blind = matrix.copy()
    for t in range(3):
        blind[t, t + 1 :] = np.nan
    for name in ("mixed", "pareto"):
        objective = ObjectiveConfig.model_validate({"name": name})
        assert intermediate(blind, objective) == intermediate(matrix, objective)
