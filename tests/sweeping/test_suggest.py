"""A space in Optuna's terms, and back from its numbers to values."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from cfsweep.config import Range, Space
from cfsweep.sweeping.suggest import ZERO_SHARE, default_params, lowest, suggest
from cfsweep.training.ingredients import hypers_of

WIDEST = {"low": 1e-300, "high": 1e300}


def space_of(search: dict[str, Any], ingredients: tuple[str, ...] = ("ewc", "replay"), **fixed: Any) -> Space:
    return Space.model_validate({"ingredients": ingredients, "fixed": fixed, "search": search})


def draws(space: Space, n: int = 400) -> list[dict[str, Any]]:
    hypers = hypers_of(space.ingredients)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [suggest(space, hypers, study.ask()) for _ in range(n)]


def test_a_log_range_is_searched_in_the_exponent() -> None:
    drawn = [v["ewc_lambda"] for v in draws(space_of({"ewc_lambda": {"low": 1, "high": 1e6, "log": True}}))]
    assert all(1 <= x <= 1e6 for x in drawn)
    assert 0.4 < sum(x < 1e3 for x in drawn) / len(drawn) < 0.6


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(("name", "low", "high"), [("ewc_lambda", 0.1, 1e8), ("replay_buffer", 10, 1000)])
def test_zero_lies_beside_the_range_and_takes_its_share(name: str, low: float, high: float, log: bool) -> None:
    drawn = [v[name] for v in draws(space_of({name: {"low": low, "high": high, "log": log, "zero": True}}))]
    assert all(x == 0 or low <= x <= high for x in drawn)
    share = sum(x == 0 for x in drawn) / len(drawn)
    assert ZERO_SHARE / 2 < share < ZERO_SHARE * 2
    assert {type(x) for x in drawn} == {int if name == "replay_buffer" else float}


def test_zero_lies_beside_a_range_that_numbers_hardly_hold() -> None:
    drawn = [v["ewc_lambda"] for v in draws(space_of({"ewc_lambda": {**WIDEST, "log": True, "zero": True}}))]
    assert all(x == 0 or 1e-300 <= x <= 1e300 for x in drawn)
    assert any(x == 0 for x in drawn)
    assert any(x > 1e200 for x in drawn)


def test_a_range_of_whole_numbers_gives_whole_numbers_ends_included() -> None:
    space = space_of({"replay_buffer": {"low": 3, "high": 5}})
    assert {v["replay_buffer"] for v in draws(space, 100)} == {3, 4, 5}
    study = optuna.create_study()
    suggest(space, hypers_of(space.ingredients), asked := study.ask())
    assert asked.distributions == {"replay_buffer": IntDistribution(3, 5)}


def test_one_number_is_one_parameter() -> None:
    space = space_of({"ewc_lambda": {"low": 1, "high": 100, "log": True, "zero": True}})
    study = optuna.create_study()
    suggest(space, hypers_of(space.ingredients), asked := study.ask())
    assert asked.distributions == {"ewc_lambda": FloatDistribution(lowest(space.search["ewc_lambda"]), 100, log=True)}  # type: ignore[arg-type]


def test_choices_fixed_values_and_defaults() -> None:
    space = space_of({"ewc_fisher": {"choices": ["true", "empirical"]}}, lr=0.5)
    values = draws(space, 50)
    assert {v["ewc_fisher"] for v in values} == {"true", "empirical"}
    assert {v["lr"] for v in values} == {0.5}
    assert {v["momentum"] for v in values} == {0.9}
    assert set(values[0]) == set(hypers_of(("ewc", "replay")))
    assert lowest(Range(low=2, high=3)) == 2


@pytest.mark.parametrize(
    ("name", "searched", "value"),
    [
        ("ewc_lambda", {"low": 1, "high": 1e6, "log": True}, 100.0),
        ("ewc_lambda", {"low": 1e3, "high": 1e6, "log": True}, 1e3),  # the default lies below
        ("ewc_lambda", {"low": 1, "high": 10, "zero": True}, 10.0),  # the default lies above
        ("weight_decay", {"low": 1e-5, "high": 1e-2, "log": True, "zero": True}, 0.0),  # the default is off
        ("replay_buffer", {"low": 10, "high": 1000, "log": True}, 500),
        ("replay_buffer", {"low": 10, "high": 100, "zero": True}, 100),
        ("epochs", {"choices": [3, 5]}, 5),
        ("epochs", {"choices": [1, 2]}, 2),  # the default is none of them
        ("epochs", {"choices": [20, 8, 1]}, 8),
        ("ewc_lambda", {"choices": [0, 1e4]}, 1e4),  # 0 is off
        ("optimizer", {"choices": ["sgd", "adam"]}, "adam"),
    ],
)
def test_trial_0_has_the_default_moved_into_the_range(name: str, searched: dict[str, Any], value: Any) -> None:
    space = space_of({name: searched})
    hypers = hypers_of(space.ingredients)
    study = optuna.create_study()
    study.enqueue_trial(default_params(space, hypers))
    found = suggest(space, hypers, study.ask())[name]
    assert found == value
    assert type(found) is type(value)


def test_values_are_the_same_however_optuna_stores_them() -> None:
    space = space_of({"replay_buffer": {"low": 10, "high": 1000, "log": True, "zero": True}})
    hypers = hypers_of(space.ingredients)
    for x, value in ((9.999, 0), (10.0, 10), (10.4, 10), (999.6, 1000)):
        assert suggest(space, hypers, FixedTrial({"replay_buffer": x}))["replay_buffer"] == value
