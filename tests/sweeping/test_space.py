"""A space, checked against the ingredients that it names."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfsweep.config import Choices, ObjectiveConfig, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import BASE_HYPERS, Hyper
from cfsweep.sweeping.parsing import make_config
from cfsweep.sweeping.space import check_ingredients, check_space, check_study, default_within, reference_values
from cfsweep.testing import small_stream
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.streams import Stream

BASE = {hyper.name: hyper for hyper in BASE_HYPERS}


def space_of(search: dict[str, Any], ingredients: tuple[str, ...] = ("ewc", "replay"), **fixed: Any) -> Space:
    return Space.model_validate({"ingredients": ingredients, "fixed": fixed, "search": search})


@pytest.mark.parametrize(
    ("name", "searched", "value"),
    [
        ("weight_decay", {"low": 1e-5, "high": 1e-2, "log": True, "zero": True}, 0.0),  # the default is off
        ("epochs", {"choices": [3, 5]}, 5),
        ("epochs", {"choices": [1, 2]}, 2),  # the default is none of them
        ("epochs", {"low": 7, "high": 9}, 7),
        ("optimizer", {"choices": ["sgd", "adam"]}, "adam"),
        ("lr", {"low": 1e-5, "high": 1e-4}, 1e-4),
    ],
)
def test_the_references_have_the_default_moved_into_the_range(name: str, searched: dict[str, Any], value: Any) -> None:
    space = space_of({name: searched})
    assert default_within(space.search[name], BASE[name]) == value
    found = reference_values(space, BASE)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("choices", "nearest"),
    [
        ((5, 10, 20), 20),
        ((20, 10, 5), 20),
        ((12, 20), 12),  # equally far: the first
        ((20, 12), 20),
        ((16.0, 20), 16),
        ((0, 100), 100),  # 0 is off, though nearer
        ((0,), 0),
    ],
)
def test_of_numbers_the_nearest_stands_for_the_default(choices: tuple[float, ...], nearest: int) -> None:
    assert default_within(Choices(choices=choices), Hyper("width", "int", 16, "units", low=0, off=0)) == nearest


def test_the_nearest_number_is_that_of_a_slow_search() -> None:
    draw = random.Random(0)
    for _ in range(300):
        hyper = Hyper("x", "float", draw.uniform(-9, 9), "anything")
        choices = [round(draw.uniform(-9, 9), 1) for _ in range(draw.randint(1, 6))]
        nearest = choices[0]
        for choice in choices[1:]:
            if abs(choice - float(hyper.default)) < abs(nearest - float(hyper.default)):
                nearest = choice
        assert default_within(Choices(choices=tuple(choices)), hyper) == nearest


def test_of_words_the_first_stands_for_a_default_that_is_missing() -> None:
    assert default_within(Choices(choices=("adamw", "sgd")), BASE["optimizer"]) == "adamw"


def test_the_references_take_what_is_fixed() -> None:
    space = space_of({"lr": {"low": 1e-4, "high": 1e-1, "log": True}}, epochs=2, optimizer="sgd")
    values = reference_values(space, BASE)
    assert (values["epochs"], values["optimizer"], values["lr"]) == (2, "sgd", 1e-3)
    assert set(values) == set(BASE)


BAD_SPACES = {
    "unknown ingredient": (
        "ingredients: [ewx]",
        "unknown ingredient `ewx`. Known, closest first: ewc, ",
    ),
    "an ingredient twice": ("ingredients: [ewc, ewc]", "`ewc` is listed twice. Remove one."),
    "unknown hyperparameter": (
        "ingredients: [ewc]\nfixed: {ewc_lamda: 3}",
        "unknown hyperparameter `ewc_lamda`. Known, closest first: ewc_lambda, ",
    ),
    "a parameter that its ingredients lack": (
        "ingredients: [replay]\nsearch: {ewc_lambda: {low: 1, high: 2}}",
        "`ewc_lambda` belongs to the ingredient `ewc`, which the space lacks. Add `ewc` to `ingredients`, or remove "
        "`ewc_lambda`.",
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
    "a range of words": (
        "fixed: {}\nsearch: {optimizer: {low: 1, high: 2}}",
        "`optimizer` is one of sgd, adam, adamw, but got a range. Write `optimizer: {choices: [...]}`.",
    ),
    "zero where there is none": ("search: {lr: {low: 0.1, high: 1.0, zero: true}}", "but got lr=0"),
    "infinity": ("search: {lr: {low: 0.1, high: .inf}}", "`search.lr.high` should be a finite number, but got inf."),
    "bounds too far apart": (
        "search: {ewc_lambda: {low: -1.0e+308, high: 1.0e+308}}",
        "a finite `high - low` must hold for `ewc_lambda`, but got (low=-1e+308, high=1e+308). Bring them nearer.",
    ),
    "zero beside next to nothing": (
        "search: {ewc_lambda: {low: 1.0e-305, high: 1, log: true, zero: true}}",
        "`low >= 1e-300` must hold for `ewc_lambda` on a log scale beside `zero: true`, but got low=1e-305. Raise it.",
    ),
    "a whole number of 20 digits": (
        "fixed: {batch_size: 99999999999999999999}",
        "must hold (of at most 9007199254740992), but got batch_size=99999999999999999999.",
    ),
    "a number of 401 digits": (f"fixed: {{lr: 1{'0' * 400}}}", "`0 < lr` must hold, but got lr=1000"),
    "not a number": ("fixed: {lr: .nan}", "but got lr=nan."),
}


@pytest.mark.parametrize("case", BAD_SPACES)
def test_a_bad_space_is_refused_in_one_line_that_says_where(case: str, tmp_path: Path) -> None:
    text, message = BAD_SPACES[case]
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        check_space(make_config(path, {}, []).space, str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packnet_needs_task_il() -> None:
    space = space_of({}, ("packnet",))
    config = StudyConfig(space=space, stream=StreamConfig(scenario="class-il"))
    with pytest.raises(InputError) as caught:
        check_ingredients(config, "space.yaml")
    assert str(caught.value) == (
        "space.yaml: `packnet` works in task-il, but got scenario=class-il. Remove `packnet` from the ingredients, or "
        "change `--scenario`."
    )


def with_validation(stream: Stream, *kept: int) -> Stream:
    """`stream`, of whose tasks these alone have validation examples of both classes."""
    tasks = []
    for number, task in enumerate(stream.tasks):
        of_first = task.validation[(stream.y[task.validation] == task.classes[0]).numpy()]
        tasks.append(task if number in kept else replace(task, validation=of_first))
    return replace(stream, tasks=tuple(tasks), scores=("roc_auc",))


@pytest.mark.parametrize(
    ("kept", "objective", "fits"),
    [
        ((0, 1, 2), "mixed", True),
        ((0, 2), "mixed", True),
        ((2,), "mixed", False),
        ((0,), "mixed", False),
        ((0,), "pareto", True),
        ((2,), "pareto", False),
    ],
)
def test_the_score_must_have_a_value_where_the_objective_needs_it(
    kept: tuple[int, ...], objective: str, fits: bool
) -> None:
    config = StudyConfig(space=Space(), objective=ObjectiveConfig.model_validate({"name": objective}))
    stream = with_validation(small_stream(n_tasks=3), *kept)
    if fits:
        check_study(config, stream, "space.yaml")
        return
    with pytest.raises(InputError) as caught:
        check_study(config, stream, "space.yaml")
    assert str(caught.value).startswith("stream `split-digits`: the objective `")
    assert "`roc_auc` has no value on the validation examples of" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_task_is_not_enough() -> None:
    with pytest.raises(InputError, match="needs at least 2, but got n_tasks=1"):
        check_study(StudyConfig(space=Space()), small_stream(n_tasks=1), "space.yaml")


def test_check_space_gives_the_hyperparameters() -> None:
    assert check_space(space_of({}), "x") == hypers_of(("ewc", "replay"))
    assert Choices(choices=(1, 2.5, "a")).choices == (1, 2.5, "a")
    own = check_space(space_of({"ewcpp_lambda": {"low": 1, "high": 9}}, ("examples.own_remedy:EWCPlusPlus",)), "x")
    assert list(own) == [*BASE, "ewcpp_lambda", "ewcpp_alpha"]
