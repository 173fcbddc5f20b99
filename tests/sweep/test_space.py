"""From a space file to Optuna's parameters and back to values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from cfsweep.config import Choices, Range, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import BASE_HYPERS
from cfsweep.sweep.parsing import parse_yaml
from cfsweep.sweep.space import (
    ZERO_SHARE,
    check_space,
    check_study,
    default_params,
    load_space,
    lowest,
    reference_values,
    suggest,
)
from cfsweep.training.ingredients import hypers_of


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
        ("epochs", {"choices": [1, 2]}, 1),  # the default is none of them
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
    if name in {hyper.name for hyper in BASE_HYPERS}:
        assert reference_values(space, {h.name: h for h in BASE_HYPERS})[name] == value


def test_the_references_take_what_is_fixed() -> None:
    space = space_of({"lr": {"low": 1e-4, "high": 1e-1, "log": True}}, epochs=2, optimizer="sgd")
    values = reference_values(space, {h.name: h for h in BASE_HYPERS})
    assert (values["epochs"], values["optimizer"], values["lr"]) == (2, "sgd", 1e-3)
    assert set(values) == {h.name for h in BASE_HYPERS}


def test_values_are_the_same_however_optuna_stores_them() -> None:
    space = space_of({"replay_buffer": {"low": 10, "high": 1000, "log": True, "zero": True}})
    hypers = hypers_of(space.ingredients)
    for x, value in ((9.999, 0), (10.0, 10), (10.4, 10), (999.6, 1000)):
        assert suggest(space, hypers, FixedTrial({"replay_buffer": x}))["replay_buffer"] == value


BAD_SPACES = {
    "unknown ingredient": (
        "ingredients: [ewx]",
        "unknown ingredient `ewx`. Known, closest first: ewc, ",
    ),
    "an ingredient twice": ("ingredients: [ewc, ewc]", "`ewc` is listed twice. Remove one."),
    "unknown key": ("ingredient: [ewc]", "unknown key `ingredient`. Known, closest first: ingredients, "),
    "unknown hyperparameter": (
        "ingredients: [ewc]\nfixed: {ewc_lamda: 3}",
        "unknown hyperparameter `ewc_lamda`. Known, closest first: ewc_lambda, ",
    ),
    "a parameter that its ingredients lack": (
        "ingredients: [replay]\nsearch: {ewc_lambda: {low: 1, high: 2}}",
        "`ewc_lambda` belongs to the ingredient `ewc`, which the space lacks. Add `ewc` to `ingredients`, or remove "
        "`ewc_lambda`.",
    ),
    "low > high": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1000, high: 10}}",
        "`low <= high` must hold for `ewc_lambda`, but got (low=1000.0, high=10.0). Swap the bounds.",
    ),
    "log from 0": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 0, high: 10, log: true}}",
        "`low > 0` must hold for `ewc_lambda` on a log scale, but got low=0.0. Raise it, and add `zero: true` if 0 "
        "itself is wanted.",
    ),
    "zero beside a single value": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 5, high: 5, zero: true}}",
        "`low < high` must hold for `ewc_lambda` beside `zero: true`, but got (low=5.0, high=5.0). Write "
        "`choices: [0, 5]`.",
    ),
    "no choices": ("ingredients: [ewc]\nsearch: {ewc_lambda: {choices: []}}", "`search.ewc_lambda.choices`: "),
    "a mistyped bound": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1, hihg: 2}}",
        "unknown key `search.ewc_lambda.hihg`. Known, closest first: search.ewc_lambda.high, ",
    ),
    "a missing bound": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1}}",
        "`search.ewc_lambda.high` is missing, but got {'low': 1}. Add it.",
    ),
    "a bound that is text": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: x, high: 3}}",
        "`search.ewc_lambda.low` should be a valid number, unable to parse string as a number, but got 'x'.",
    ),
    "a number instead of a range": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: 3}",
        "`search.ewc_lambda` should be a valid mapping of keys to values",
    ),
    "fixed and searched": (
        "fixed: {lr: 0.1}\nsearch: {lr: {low: 0.1, high: 1}}",
        "`lr` is both fixed and searched. Remove one of the two.",
    ),
    "a ratio of 1": (
        "ingredients: [replay]\nsearch: {replay_ratio: {low: 0.1, high: 1.0}}",
        "`0 <= replay_ratio < 1` must hold, but got replay_ratio=1.0.",
    ),
    "a negative ratio": ("ingredients: [replay]\nfixed: {replay_ratio: -0.1}", "but got replay_ratio=-0.1."),
    "a negative buffer": (
        "ingredients: [replay]\nfixed: {replay_buffer: -1}",
        "`0 <= replay_buffer, a whole number` must hold, but got replay_buffer=-1.",
    ),
    "half an example": (
        "ingredients: [replay]\nsearch: {replay_buffer: {low: 0.5, high: 9}}",
        "got replay_buffer=0.5.",
    ),
    "a pruning rate of 1": (
        "ingredients: [packnet]\nfixed: {packnet_rate: 1.0}",
        "`0 <= packnet_rate < 1` must hold, but got packnet_rate=1.0.",
    ),
    "a negative pruning rate": ("ingredients: [packnet]\nfixed: {packnet_rate: -0.5}", "got packnet_rate=-0.5."),
    "an unknown choice": (
        "ingredients: [ewc]\nfixed: {ewc_fisher: exact}",
        "`ewc_fisher` must be one of true, predicted, empirical, but got ewc_fisher='exact'.",
    ),
    "a bare true": ("ingredients: [ewc]\nfixed: {ewc_fisher: true}", "`fixed.ewc_fisher` should be "),
    "a range of words": (
        "fixed: {}\nsearch: {optimizer: {low: 1, high: 2}}",
        "`optimizer` is one of sgd, adam, adamw, but got a range. Write `optimizer: {choices: [...]}`.",
    ),
    "infinity": ("search: {lr: {low: 0.1, high: .inf}}", "but got lr=inf."),
    "not a number": ("fixed: {lr: .nan}", "but got lr=nan."),
    "no mapping": ("- ewc", "a mapping of keys to values is needed, but got list."),
    "empty": ("", "a mapping of keys to values is needed, but got NoneType."),
    "no YAML": ("search: {lr: [", "not valid YAML"),
}


@pytest.mark.parametrize("case", BAD_SPACES)
def test_a_bad_space_is_refused_in_one_line_that_says_where(case: str, tmp_path: Path) -> None:
    text, message = BAD_SPACES[case]
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_space(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "function-after" not in str(caught.value)  # pydantic's own marks


def test_a_missing_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none\.yaml: cannot be read \(No such file or directory\)\. Check the path\."
    ):
        load_space(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        load_space(tmp_path)


def test_a_number_in_either_notation_is_a_number() -> None:
    assert [parse_yaml(x) for x in ("1e-3", "1.0e+8", "1E5", "-2e2", "+3e1", "1.5")] == [1e-3, 1e8, 1e5, -200, 30, 1.5]
    assert parse_yaml("e3") == "e3"


def test_packnet_needs_task_il() -> None:
    space = space_of({}, ("packnet",))
    config = StudyConfig(space=space, stream=StreamConfig(scenario="class-il"))
    with pytest.raises(InputError) as caught:
        check_study(config, 5, "space.yaml")
    assert str(caught.value) == (
        "space.yaml: `packnet` works in task-il, but got scenario=class-il. Remove `packnet` from the ingredients, or "
        "change `--scenario`."
    )


def test_one_task_is_not_enough() -> None:
    with pytest.raises(InputError, match="needs at least 2, but got n_tasks=1"):
        check_study(StudyConfig(space=Space()), 1, "space.yaml")


def test_check_space_gives_the_hyperparameters() -> None:
    assert check_space(space_of({}), "x") == hypers_of(("ewc", "replay"))
    assert lowest(Range(low=2, high=3)) == 2
    assert Choices(choices=(1, 2.5, "a")).choices == (1, 2.5, "a")
