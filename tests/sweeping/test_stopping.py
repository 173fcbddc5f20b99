"""Who is stopped: the asker's median rule, and non-dominated sorting beyond chance against a slow obvious twin."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cfsweep.config import ObjectiveConfig
from cfsweep.metrics import mixed, plasticity, stability
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.sweeping.search.asker import open_asker
from cfsweep.sweeping.space import check_space
from cfsweep.sweeping.stopping import (
    RUNG_TRIALS,
    STARTUP_TRIALS,
    Matrix,
    MedianStopper,
    RankStopper,
    Rung,
    ended_matrices,
    intermediate,
    is_clearly_beaten,
    standard_errors,
    stopper_for,
)
from cfsweep.training.targets import target_of
from tests.sweeping.in_process import Killed, Sweep, tiny

PARETO = ObjectiveConfig(name="pareto")
OBJECTIVES = (("pareto", "stored_bytes"), ("pareto", None), ("mixed", None))
COUNTS = [50] * 5
ACCURACY = target_of("classification").scores[0]


def judged(stopper: RankStopper, number: int, matrix: Matrix, rung: int = 1) -> bool:
    return stopper.loses(number, rung, matrix[: rung + 1])


def two_tasks(stability: float, plasticity: float) -> Matrix:
    """A matrix after two of five tasks with this intermediate objective."""
    return np.array([[plasticity, 0, 0, 0, 0], [stability, plasticity, 0, 0, 0]], dtype=np.float64)


def test_the_median_of_those_that_came_as_far_decides(tmp_path: Path) -> None:
    config = tiny(trials=100)
    asker = open_asker(tmp_path / "journal.jsonl", config, check_space(config.space, "test"))
    stopper = MedianStopper(ObjectiveConfig(old_weight=1.0), asker)
    for i in range(STARTUP_TRIALS):
        (trial,) = asker.ask(1)
        assert not stopper.loses(trial.number, 1, two_tasks(i / 10, 0.5))  # too few to judge by
        asker.tell(trial.number, "done", [i / 10])
    median = float(np.median([i / 10 for i in range(STARTUP_TRIALS)]))
    winner, loser = asker.ask(2)
    assert not stopper.loses(winner.number, 1, two_tasks(median + 0.01, 0.5))
    assert stopper.loses(loser.number, 1, two_tasks(median - 0.01, 0.5))
    assert asker.study.trials[loser.number].intermediate_values == {1: median - 0.01}


def slow_ranks(points: list[tuple[float, ...]]) -> list[int]:
    """The front that each point lies on, by peeling one after the other: O(n^3) and obvious."""
    ranks, left, rank = {}, set(points), 0
    while left:
        front = {p for p in left if not any(all(a >= b for a, b in zip(q, p, strict=True)) and q != p for q in left)}
        ranks.update(dict.fromkeys(front, rank))
        left, rank = left - front, rank + 1
    return [ranks[point] for point in points]


def slow_verdict(value: tuple[float, ...], errors: tuple[float, ...], others: list[tuple[float, ...]]) -> bool:
    ranks = slow_ranks([*others, value])
    beaten = any(all(o > v + 2 * e for o, v, e in zip(other, value, errors, strict=True)) for other in others)
    return beaten and bool(ranks[-1] > np.median(ranks))


@pytest.mark.parametrize("seed", range(5))
def test_verdicts_agree_with_the_twin_also_with_ties(seed: int) -> None:
    rng, stopper = np.random.default_rng(seed), RankStopper(COUNTS, ACCURACY)
    seen: list[tuple[float, ...]] = []
    verdicts = []
    for number in range(60):
        matrix = two_tasks(float(rng.integers(6)) / 5, float(rng.integers(6)) / 5)
        value, errors = intermediate(matrix, PARETO), standard_errors(matrix, COUNTS, ACCURACY)
        expected = len(seen) >= STARTUP_TRIALS and slow_verdict(value, errors, seen)
        verdicts.append(judged(stopper, number, matrix))
        assert verdicts[-1] == expected
        seen.append(value)
    assert 0 < sum(verdicts) < 40


def test_both_the_rank_and_the_margin_must_speak_against_a_trial() -> None:
    others = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
    assert is_clearly_beaten((0.75, 0.75), (0.07, 0.07), others)
    assert not is_clearly_beaten(
        (0.75, 0.75), (0.08, 0.07), others
    )  # chance may have put it so far behind in one of them
    assert not is_clearly_beaten((0.85, 0.85), (0.0, 0.0), others)  # beaten, but of the better half
    assert not is_clearly_beaten((0.89, 0.95), (0.0, 0.0), others)  # on the front


def test_the_standard_errors_are_those_of_drawn_examples() -> None:
    """Drawn anew many times, with another number of examples in each task, the two values spread as much."""
    rng, chances = np.random.default_rng(0), np.array([[0.9, 0.5, 0.5], [0.8, 0.7, 0.5], [0.6, 0.75, 0.95]])
    n = np.array([40, 80, 20])
    drawn = [intermediate(rng.binomial(n, chances) / n, PARETO) for _ in range(4000)]
    assert standard_errors(chances, n.tolist(), ACCURACY) == pytest.approx(np.std(drawn, axis=0), rel=0.05)


def test_rungs_are_judged_apart() -> None:
    stopper = RankStopper(COUNTS, ACCURACY)
    for i in range(2 * STARTUP_TRIALS):
        judged(stopper, i, two_tasks(0.5 + i / 100, 0.5 + i / 100))
    poor = np.zeros((3, 5))
    assert not judged(stopper, 98, poor, rung=2)
    assert judged(stopper, 99, poor, rung=1)


def test_a_trial_is_not_its_own_rival() -> None:
    """A pack that was begun again reports what it had reported."""
    stopper = RankStopper(COUNTS, ACCURACY)
    for i in range(STARTUP_TRIALS):
        judged(stopper, i, two_tasks(0.9, 0.9))
    verdicts = [judged(stopper, 50, two_tasks(0.1, 0.1)) for _ in range(3)]
    assert verdicts == [True] * 3
    assert len(stopper.rungs[1].values) == STARTUP_TRIALS + 1


def test_a_rung_remembers_a_sample_that_no_order_changes() -> None:
    rng, numbers = np.random.default_rng(0), list(range(1, 3 * RUNG_TRIALS))
    rungs = [Rung(), Rung()]
    for rung in rungs:
        rng.shuffle(numbers)
        for number in (*numbers, *numbers[:50]):
            rung.add(number, (float(number), 0.0))
    assert rungs[0].values == rungs[1].values
    assert len(rungs[0].values) == RUNG_TRIALS
    kept = rungs[0].others(0)[:, 0]
    assert 0.8 < kept.mean() / np.mean(numbers) < 1.2  # of early and late trials alike
    some = int(kept[7])
    assert sorted(rungs[0].others(some)[:, 0]) == sorted(set(kept) - {some})


def test_a_cost_among_the_objectives_stops_nobody() -> None:
    asker: Any = SimpleNamespace()
    cost, pareto, mixed = (tiny(objective=name, third=third, stop_trials=True) for name, third in OBJECTIVES)
    assert stopper_for(cost, COUNTS, ACCURACY, asker) is None
    assert isinstance(stopper_for(pareto, COUNTS, ACCURACY, asker), RankStopper)
    assert isinstance(stopper_for(mixed, COUNTS, ACCURACY, asker), MedianStopper)
    for config in (pareto, mixed):
        assert stopper_for(config.model_copy(update={"stop_trials": False}), COUNTS, ACCURACY, asker) is None


def test_a_score_whose_chance_nobody_knows_lets_nobody_be_beaten_beyond_it() -> None:
    asker, unknown = SimpleNamespace(), replace(ACCURACY, variance=None)
    _, pareto, mixed = (tiny(objective=name, third=third, stop_trials=True) for name, third in OBJECTIVES)
    assert stopper_for(pareto, COUNTS, unknown, asker) is None
    assert isinstance(stopper_for(mixed, COUNTS, unknown, asker), MedianStopper)  # which needs none


def test_after_the_last_task_the_intermediate_objective_is_the_objective() -> None:
    matrix = np.random.default_rng(0).random((5, 5))
    assert intermediate(matrix, ObjectiveConfig(old_weight=0.3)) == pytest.approx((mixed(matrix, 0.3),))
    assert intermediate(matrix, PARETO) == pytest.approx((stability(matrix), plasticity(matrix)))


def test_in_between_it_sees_only_the_tasks_done() -> None:
    matrix = np.random.default_rng(1).random((3, 5))
    blind = matrix.copy()
    for t in range(3):
        blind[t, t + 1 :] = np.nan
    for name in ("mixed", "pareto"):
        objective = ObjectiveConfig.model_validate({"name": name})
        assert intermediate(blind, objective) == intermediate(matrix, objective)
    assert standard_errors(blind, COUNTS, ACCURACY) == standard_errors(matrix, COUNTS, ACCURACY)


# -------------------------------------------------------------------------------------------- a sweep that goes on

LR = {"lr": {"low": 1e-5, "high": 3e-2, "log": True}}


def values(stopper: object) -> dict[int, dict[int, tuple[float, ...]]]:
    assert isinstance(stopper, RankStopper)
    return {rung: here.values for rung, here in stopper.rungs.items()}


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_resumed_sweep_judges_as_the_one_that_it_goes_on_with(sweep: Sweep, seeds: int) -> None:
    settings = {"ingredients": (), "objective": "pareto", "trials": 16, "seeds": seeds}
    config = tiny(LR, **settings, stop_trials=True, pack_runs=2)  # type: ignore[arg-type]
    before = sweep.train(sweep.open(config)).stopper
    after = sweep.open(config).stopper
    assert values(before) == values(after)
    assert isinstance(before, RankStopper)
    assert isinstance(after, RankStopper)
    stopped = {row["trial"] for row in sweep.rows() if row["state"] == "stopped"}
    assert stopped & set(before.rungs[1].values), "what lost is remembered too"
    rng = np.random.default_rng(0)
    matrices = [rng.random((4, 5)) * rng.random() for _ in range(50)]
    verdicts = [[judged(s, 1000 + i, m, rung=1 + i % 3) for i, m in enumerate(matrices)] for s in (before, after)]
    assert verdicts[0] == verdicts[1]
    assert set(verdicts[0]) == {True, False}


def test_what_was_on_its_way_joins_the_rungs_when_it_reports_again(sweep: Sweep) -> None:
    config = tiny(LR, ingredients=(), objective="pareto", trials=16, stop_trials=True, pack_runs=2)
    steps = iter(range(1000))

    def fault(pack_id: str, pack: object, driver: object) -> None:
        if next(steps) == 21:
            raise Killed

    with pytest.raises(Killed):
        sweep.train(sweep.open(config, now=itertools.count().__next__), fault)  # what ends is written at once
    left = sweep.open(config)
    known = {row["trial"] for row in sweep.rows()} - {0}
    assert set(values(left.stopper)[1]) == known
    finished = sweep.train(left)
    assert set(values(finished.stopper)[1]) == set(range(1, 16))


def test_what_is_read_back_are_the_matrices_of_the_judged(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e30]}}
    config = tiny(
        search, {"optimizer": "sgd"}, ingredients=(), trials=6, seeds=2, references=True
    )  # 1e30 fails at once
    sweep.train(sweep.open(config))
    assert {row["state"] for row in sweep.rows()} == {"done", "failed"}
    read = dict(ended_matrices(sweep.folder.root, seeds=2, score="accuracy"))
    cells = sweep.matrices()
    assert set(read) == {row["trial"] for row in sweep.rows() if row["state"] == "done"} - {MAJORITY_TRIAL, -2, -1, 0}
    for trial, matrix in read.items():
        expected = [np.reshape(cells[trial, seed], (-1, 5))[1:] for seed in (0, 1)]
        assert matrix.tolist() == np.mean(expected, axis=0).tolist()
    assert list(ended_matrices(sweep.folder.root, seeds=3, score="accuracy")) == []
    assert list(ended_matrices(sweep.folder.root / "nothing", seeds=1, score="accuracy")) == []
