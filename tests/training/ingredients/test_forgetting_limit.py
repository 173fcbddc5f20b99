"""The limit on forgetting against a plain loop that looks and goes back by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop
from cfsweep.testing.packs import finish, make_pack, small_stream, values_of, weights
from cfsweep.training.ingredients.forgetting_limit import ForgettingLimit
from cfsweep.training.spec import RunSpec
from tests.training.helpers import steered_by_validation

NAMES = ("forgetting-limit",)


def walk(means: list[float], limit: float, task: int = 1) -> tuple[int, int]:
    """(the last check that was made, the one whose weights are kept), from the old tasks' mean at checks 0, 1, ..."""
    values = {"forgetting_limit": torch.tensor(limit)}
    state = INGREDIENT.initial_state(torch.full((2,), 99.0))
    for number, mean in enumerate(means):
        shown = torch.tensor([mean, 0.3, 0.0], dtype=torch.float64)
        theta, state, finished = INGREDIENT.check(torch.full((2,), float(number)), state, values, shown, task, number)
        if bool(finished):
            break
    return number, int(theta[0])


def test_by_hand() -> None:
    """From 0.9 with a limit of 0.2: 0.7 is at the limit, 0.69 beyond it; a rise in between changes nothing."""
    assert walk([0.9, 0.8, 0.7, 0.69, 0.9], 0.2) == (3, 2)
    assert walk([0.9, 1.0, 0.75, 0.71], 0.2) == (3, 3), "it counts from the start of the task, not from the best"
    assert walk([0.9, 0.1, 0.9], 0.2) == (1, 0), "at worst the weights with which the task began"
    assert walk([1.0, 0.0, 0.0], 1.0) == (2, 2), "off"
    assert walk([0.5, 0.5, 0.49], 0.0) == (2, 1)
    assert walk([0.9, 0.1], 0.0, task=0) == (1, 1), "there are no old tasks yet"


def test_a_fall_of_just_the_limit_is_not_beyond_it() -> None:
    """Whatever the rounding: 0.95 - 0.94 is more than 0.01 in binary, and 0.01 in float32 less."""
    for n in (6, 10, 100, 997):
        for start, fall in itertools.product(range(0, n + 1, max(1, n // 50)), range(1, 40)):
            if fall <= start:
                assert walk_once(start / n, (start - fall) / n, fall / n) == (False, True)


def walk_once(start: float, now: float, limit: float) -> tuple[bool, bool]:
    """Whether the fall from `start` to `now` is beyond `limit`, and beyond a limit that is a bit smaller."""
    state = {"start": torch.tensor(start, dtype=torch.float64), "weights": torch.zeros(1)}
    shown = torch.tensor([now, 0.0], dtype=torch.float64)
    limits = (torch.tensor(limit), torch.tensor(limit - 1e-4))
    broken = [limit_of(state, shown, limit) for limit in limits]
    return broken[0], broken[1]


def limit_of(state: dict[str, torch.Tensor], shown: torch.Tensor, limit: torch.Tensor) -> bool:
    return bool(INGREDIENT.check(torch.zeros(1), state, {"forgetting_limit": limit}, shown, 1, 3)[2])


def test_the_mean_is_over_old_tasks_alone() -> None:
    state = INGREDIENT.initial_state(torch.zeros(1))
    values = {"forgetting_limit": torch.tensor(0.1)}

    def check(accuracies: list[float], number: int) -> bool:
        nonlocal state
        shown = torch.tensor(accuracies, dtype=torch.float64)
        _, state, finished = INGREDIENT.check(torch.zeros(1), state, values, shown, 2, number)
        return bool(finished)

    assert not check([0.8, 0.6, 0.9], 0)
    assert not check([0.4, 0.9, 0.0], 1), "(0.8 + 0.6)/2 - (0.4 + 0.9)/2 = 0.05"
    assert check([0.4, 0.7, 1.0], 2), "... - (0.4 + 0.7)/2 = 0.15"


def plain_task(plain: PlainLoop, task: int, limit: float) -> int:
    """Returns the steps taken."""
    n_steps = plain.n_steps(task)
    looks = {max(1, round(n_steps * k / 20)) for k in range(1, 21)}
    start, kept = np.mean(plain.accuracies(task, "steering")[:task]) if task else 0.0, plain.theta()
    for step in plain.steps(task, plain.optimizer()):
        if task and step in looks:
            if start - np.mean(plain.accuracies(task + 1, "steering")[:task]) > limit + 1e-6:
                plain.go_back(kept)
                break
            kept = plain.theta()
    return step


@pytest.mark.parametrize(("optimizer", "scenario"), [("sgd", "domain-il"), ("adam", "task-il"), ("adamw", "domain-il")])
def test_whole_runs_agree_with_a_plain_loop(optimizer: str, scenario: Scenario) -> None:
    stream, seen = small_stream(), set()
    for seed, limit, batch_size in ((0, 0.05, 2), (1, 0.3, 2), (2, 0.1, 8)):  # 33 steps, and 9: fewer than looks
        values = values_of(NAMES, optimizer=optimizer, forgetting_limit=limit, batch_size=batch_size)
        run = RunSpec(0, seed, values)
        pack, plain, steps = make_pack(stream, NAMES, (run,), scenario), PlainLoop(stream, run, scenario), 0
        for task in range(3):
            record = pack.train_next_task().records[0]
            taken = plain_task(plain, task, limit)
            steps += taken
            assert record.steps == steps
            assert record.validation[-1] == plain.accuracies(task + 1, "validation")
            torch.testing.assert_close(weights(pack)[0], plain.theta(), rtol=1e-3, atol=2e-4)
            seen.add((task, taken))
    assert {(0, 33), (0, 9)} <= seen, "the first task is never cut short"
    assert any(task and taken not in (33, 9) for task, taken in seen)
    assert len(seen) > 4


@pytest.mark.parametrize("scenario", ["task-il", "domain-il"])
@pytest.mark.parametrize("names", [("forgetting-limit",), ("replay", "forgetting-limit", "ewc")], ids="+".join)
def test_no_task_ends_beyond_the_limit(names: tuple[str, ...], scenario: Scenario) -> None:
    limits = (0.0, 0.1, 0.25)
    given = {"lr": 0.02, "replay_ratio": 0.1} if "replay" in names else {"lr": 0.02}
    runs = tuple(RunSpec(k, k % 2, values_of(names, forgetting_limit=limits[k // 2], **given)) for k in range(6))
    pack = finish(make_pack(steered_by_validation(small_stream(seed=1)), names, runs, scenario))
    for run, record in zip(runs, pack.records, strict=True):
        assert largest_fall(record.validation) <= float(run.values["forgetting_limit"]) + 1e-9
    naive = finish(make_pack(small_stream(seed=1), scenario=scenario, lr=0.02))
    assert largest_fall(naive.records[0].validation) > 0.1


def test_where_new_active_outputs_alone_break_the_limit_the_weights_stay() -> None:
    run = RunSpec(0, 1, values_of(NAMES, forgetting_limit=0.0, lr=0.02))
    pack = make_pack(steered_by_validation(small_stream()), NAMES, (run,), "class-il")
    pack.train_next_task()
    before = weights(pack).clone()
    record = pack.train_next_task().records[0]
    assert record.validation[2][0] < record.validation[1][0]
    assert torch.equal(weights(pack), before)
    assert record.steps == 16


def largest_fall(validation: list[list[float]]) -> float:
    """Of the mean accuracy on the old tasks within one task."""
    matrix = np.array(validation)
    return max(float((matrix[t, :t] - matrix[t + 1, :t]).mean()) for t in (1, 2))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_limit_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"0 <= forgetting_limit <= 1.*1 is off") as caught:
        ForgettingLimit.hypers[0].check(value, "space.yaml")
    assert "\n" not in str(caught.value)


(INGREDIENT,) = make_pack(small_stream(), NAMES).context.ingredients
