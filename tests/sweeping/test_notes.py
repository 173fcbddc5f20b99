"""What is said before a sweep starts: who gets which share of the weights, and what a penalty alone cannot do."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.sweeping.notes import (
    LEAST_SHARE,
    _deviations,
    capacities,
    capacity_note,
    default_note,
    idle_note,
    notes,
    percent,
    rehearsal_note,
    repetition_note,
    same_examples_note,
    share_note,
    steps_of_tasks,
    sufficient_rates,
    swamping_note,
)
from cfsweep.testing import small_stream
from cfsweep.training.ingredients import hypers_of, registry
from cfsweep.training.ingredients.ewc import EWC
from cfsweep.training.ingredients.packnet import capacity_shares
from cfsweep.training.streams import Stream
from cfsweep.training.streams._own_data import checked_examples, own_stream
from cfsweep.training.streams._own_tasks import OwnTask


def labels(search: dict[str, Any], ingredients: tuple[str, ...] = ("packnet",), **fixed: Any) -> list[str]:
    space = Space.model_validate({"ingredients": ingredients, "fixed": fixed, "search": search})
    return [found.label for found in capacities(space, hypers_of(ingredients), 3)]


@pytest.mark.parametrize(
    ("search", "fixed", "expected"),
    [
        ({}, {}, ["rate 0.5"]),
        ({}, {"packnet_rate": 0.8}, ["rate 0.8"]),
        ({}, {"packnet_rate": 0}, []),
        ({}, {"packnet_schedule": "equal"}, ["schedule equal"]),
        ({}, {"packnet_schedule": "equal", "packnet_rate": 0.0}, []),
        ({"packnet_rate": {"low": 0.3, "high": 0.9}}, {}, ["rate 0.3 (low)", "rate 0.5 (default)", "rate 0.9 (high)"]),
        ({"packnet_rate": {"low": 0.6, "high": 0.9, "zero": True}}, {}, ["rate 0.6 (default)", "rate 0.9 (high)"]),
        ({"packnet_rate": {"low": 0.0, "high": 0.4}}, {}, ["rate 0.4 (high)"]),
        ({"packnet_rate": {"choices": [0, 0.75, 0.5]}}, {}, ["rate 0.75", "rate 0.5"]),
        ({"packnet_rate": {"choices": [0]}}, {"packnet_schedule": "equal"}, []),
        (
            {"packnet_rate": {"choices": [0.2, 0.7]}, "packnet_schedule": {"choices": ["equal", "constant"]}},
            {},
            ["rate 0.2", "rate 0.7", "schedule equal"],
        ),
    ],
)
def test_every_rate_that_tells_what_a_study_may_do(
    search: dict[str, Any], fixed: dict[str, Any], expected: list[str]
) -> None:
    assert labels(search, **fixed) == expected


def test_a_study_without_packnet_has_none() -> None:
    assert labels({}, ("ewc", "replay")) == []


def test_each_capacity_has_its_own_shares() -> None:
    search = {"packnet_rate": {"low": 0.25, "high": 0.75}, "packnet_schedule": {"choices": ["constant", "equal"]}}
    space = Space.model_validate({"ingredients": ("packnet",), "search": search})
    found = capacities(space, hypers_of(("packnet",)), 2)
    assert [capacity.shares for capacity in found] == [
        (0.75, 0.1875, 0.0625),
        (0.5, 0.25, 0.25),
        (0.25, 0.1875, 0.5625),
        (0.5, 0.5, 0.0),
    ]
    assert [capacity.of_last_task for capacity in found] == [0.1875, 0.25, 0.1875, 0.5]


@pytest.mark.parametrize("n_tasks", range(2, 12))
def test_the_rates_between_the_two_are_enough_and_no_others(n_tasks: int) -> None:
    rates = np.linspace(0.001, 0.999, 999)
    enough = [rate for rate in rates if capacity_shares(rate, n_tasks)[n_tasks - 1] >= LEAST_SHARE]
    found = sufficient_rates(n_tasks)
    if found is None:
        assert enough == []
        return
    low, high = found
    assert enough[0] <= low < enough[0] + 0.01
    assert enough[-1] - 0.01 < high <= enough[-1]
    assert len(enough) == round(1000 * (enough[-1] - enough[0])) + 1  # no gap between them


def note(n_tasks: int, **fixed: Any) -> str | None:
    space = Space.model_validate({"ingredients": ("packnet",), "fixed": fixed})
    return capacity_note(capacities(space, hypers_of(("packnet",)), n_tasks), n_tasks)


def test_the_note_names_rate_share_and_remedy() -> None:
    assert note(5, packnet_rate=0.2) == (
        "packnet: of the prunable weights, the last of 5 tasks gets 0.128 % at rate 0.2. `packnet_rate` from 0.6 to "
        "0.93 leaves it 5 % or more; `packnet_schedule: equal` gives each task 20 %."
    )
    assert note(10, packnet_rate=0.1) == (
        "packnet: of the prunable weights, the last of 10 tasks gets under 0.01 % at rate 0.1. No `packnet_rate` "
        "leaves it 5 % on so many tasks; `packnet_schedule: equal` gives each task 10 %."
    )
    assert note(25, packnet_schedule="equal") == (
        "packnet: of the prunable weights, the last of 25 tasks gets 4 % at schedule equal. No `packnet_rate` leaves "
        "it 5 % on so many tasks; `packnet_schedule: equal` gives each task 4 %. If that is too few weights, take a "
        "larger network."
    )


@pytest.mark.parametrize(("n_tasks", "rate"), [(5, 0.6), (5, 0.93), (2, 0.06), (4, 0.5)])
def test_enough_is_not_noted(n_tasks: int, rate: float) -> None:
    assert note(n_tasks, packnet_rate=rate) is None
    assert note(20, packnet_schedule="equal") is None  # 5 % each


@pytest.mark.parametrize(("n_tasks", "rate"), [(5, 0.59), (5, 0.94), (2, 0.05), (2, 0.95)])
def test_just_too_little_is(n_tasks: int, rate: float) -> None:
    assert capacity_shares(rate, n_tasks)[n_tasks - 1] < LEAST_SHARE
    said = note(n_tasks, packnet_rate=rate)
    assert said is not None
    assert percent(capacity_shares(rate, n_tasks)[n_tasks - 1]) in said
    assert "\n" not in said


def study_of(scenario: Scenario, *ingredients: str) -> StudyConfig:
    return StudyConfig(space=Space(ingredients=ingredients), stream=StreamConfig(scenario=scenario))


def test_a_penalty_alone_in_class_il_is_noted() -> None:
    said = rehearsal_note(study_of("class-il", "ewc"))
    assert said is not None
    assert said.startswith("class-il with `ewc` and no rehearsal: ")
    assert "near what learning the last task alone gives. Add `replay`" in said
    assert "\n" not in said
    assert notes(study_of("class-il", "ewc"), hypers_of(("ewc",)), small_stream(5))[0] == said


@pytest.mark.parametrize(
    ("scenario", "ingredients"),
    [
        ("class-il", ()),
        ("class-il", ("replay",)),
        ("class-il", ("ewc", "replay")),
        ("class-il", ("replay", "ewc")),
        ("task-il", ("ewc",)),
        ("domain-il", ("ewc",)),
    ],
)
def test_rehearsal_and_other_scenarios_are_not(scenario: Scenario, ingredients: tuple[str, ...]) -> None:
    assert rehearsal_note(study_of(scenario, *ingredients)) is None


OWN = "examples.own_remedy:EWCPlusPlus"  # a penalty
PENALTIES = {"ewc", "l2-sp", "si", "mas", OWN}
REHEARSALS = {
    "replay",
    "er-ace",
    "gdumb",
    "der++",
    "der++-online",
    "a-gem",
    "a-gem-online",
    "generative-replay",
    "icarl",
}


def test_what_an_ingredient_is_made_of_decides() -> None:
    """Each set of up to three ingredients, one's own among them, against the rule in words."""
    for size in range(4):
        for chosen in itertools.combinations((*registry, OWN), size):
            said = rehearsal_note(study_of("class-il", *chosen))
            assert (said is not None) == (bool(PENALTIES & {*chosen}) and not REHEARSALS & {*chosen}), chosen
    said = rehearsal_note(study_of("class-il", OWN, "ewc"))
    assert said is not None
    assert said.startswith("class-il with `ewc++` and `ewc` and no rehearsal: ")
    assert said.endswith("Add `replay` or `er-ace` to the ingredients.")


# ------------------------------------------------------------------------------------------------ scale


def flat(factors: tuple[float, ...], by: str, later: float = 1.0, features: tuple[str, ...] = ()) -> Stream:
    """Two tasks of normal features times these factors, the last feature of the second task `later` times more."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 40, len(factors))) * np.array(factors)
    x[1, :, -1] *= later
    given = [OwnTask(str(k), checked_examples(x[k], np.arange(40) % 2, ""), None) for k in range(2)]
    config = StreamConfig.model_validate({"name": "own", "standardise": by})
    return replace(own_stream(config, given, {}), features=features)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (
            flat((1, 1, 1, 20_000), "scalar"),
            r"^feature 3 \(from 0\) varies \d\d,\d{3} times as much as the median one, as",
        ),
        (
            flat((1, 500), "none", features=("a", "income")),
            "^feature `income` varies .* Set `stream.standardise=feature`",
        ),
        (
            flat((1, 1, 1), "feature", later=900.0),
            r"\(standardise=feature\), and swamps the others. Drop or transform it",
        ),
        (flat((1, 1, 0, 0, 0, 400), "scalar"), "^feature 5 "),
    ],
)
def test_a_feature_that_swamps_the_others_is_noted(stream: Stream, said: str) -> None:
    found = swamping_note(stream)
    assert found is not None
    assert re.search(said, found)
    assert "\n" not in found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_deviations_of_a_few_examples_at_a_time_are_those_of_all(
    monkeypatch: pytest.MonkeyPatch, at_once: int, seed: int
) -> None:
    monkeypatch.setattr("cfsweep.sweeping.notes._AT_ONCE", at_once)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(7, [1, 1e3, 0.01, 0], (60, 4))).float()
    stream = replace(small_stream(), x=x, shift=torch.tensor([1.0, 2, 3, 0.1]), scale=torch.tensor([0.1, 3, 2, 0.3]))
    rows = torch.from_numpy(rng.permutation(60)[:40])
    found = _deviations(stream, rows)
    expected = ((x[rows].double() - stream.shift) * stream.scale).numpy().std(0)
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-9)
    assert found[3] == 0.0, "to the last bit, or it would be the median"


@pytest.mark.parametrize(
    "stream",
    [flat((1, 1, 1, 20_000), "feature"), flat((1, 50), "scalar"), flat((20_000,), "scalar"), flat((0, 0), "none")],
)
def test_where_none_does_nothing_is_said(stream: Stream) -> None:
    assert swamping_note(stream) is None
    assert swamping_note(small_stream()) is None


@pytest.mark.parametrize("kind", ["flat", "image", "labels far apart"])
def test_it_is_noted_that_test_data_were_drawn(kind: str) -> None:
    shape, labels = (2, 3, 3) if kind == "image" else (3,), (7, 900) if kind == "labels far apart" else (0, 1)
    x, y = np.random.default_rng(0).normal(size=(40, *shape)), np.resize(labels, 40)
    given = [OwnTask(str(k), checked_examples(x, y, ""), None) for k in range(2)]
    stream = own_stream(StreamConfig(name="own"), given, {})
    said = share_note(stream)
    assert said == (
        "no task says which of its examples are test data: a fixed, stratified 20 % of each became that. "
        "To choose them, give a column `split`, `x_test` and `y_test`, `test`, or folders `train` and `test`."
    )
    assert said in notes(study_of("task-il", "ewc"), hypers_of(("ewc",)), stream)
    given = [replace(task, test=task.train) for task in given]
    assert share_note(own_stream(StreamConfig(name="own"), given, {})) is None
    assert share_note(small_stream()) is None


# ------------------------------------------------------------------------------------------------ what is searched


@pytest.mark.parametrize(
    ("search", "trials", "said"),
    [
        ({}, 48, "the space searches nothing: all 48 trials are one configuration"),
        ({}, 1, None),
        (
            {"lr": {"choices": [0.1, 0.01]}},
            3,
            "the space has 2 different configurations at most, fewer than 3 trials: each is trained once",
        ),
        ({"lr": {"choices": [0.1, 0.01]}}, 2, None),
        (
            {"lr": {"choices": [0.1, 0.1]}, "epochs": {"low": 1, "high": 3}},
            4,
            "has 3 different configurations at most",
        ),
        ({"lr": {"low": 0.1, "high": 0.2}, "epochs": {"low": 1, "high": 1}}, 1000, None),
        ({"weight_decay": {"low": 0.5, "high": 0.5}}, 2, "has 1 different configuration at most, fewer"),
    ],
)
def test_a_space_with_fewer_configurations_than_trials_is_noted(
    search: dict[str, Any], trials: int, said: str | None
) -> None:
    config = StudyConfig.model_validate({"space": {"search": search}, "trials": trials})
    found = repetition_note(config, hypers_of(()))
    assert (found is None) == (said is None)
    assert said is None or said in str(found)


def test_a_default_that_the_space_leaves_out_is_noted() -> None:
    space = Space.model_validate({"search": {"lr": {"low": 0.01, "high": 0.1}, "epochs": {"choices": [5, 10]}}})
    said = "trial 0 is as near to the library's default as the space allows: lr=0.01 (default 0.001)"
    assert default_note(space, hypers_of(())) == said
    assert default_note(Space.model_validate({"search": {"lr": {"low": 1e-5, "high": 0.1}}}), hypers_of(())) is None
    latent = {"generative_latent": {"choices": [5, 10, 20]}}
    space = Space.model_validate({"ingredients": ["generative-replay"], "search": latent})
    assert str(default_note(space, hypers_of(space.ingredients))).endswith(": generative_latent=20 (default 16)")


@pytest.mark.parametrize(
    ("ingredients", "search", "fixed", "said"),
    [
        ((), {"momentum": {"low": 0.1, "high": 0.9}}, {}, "`momentum` (it acts with optimizer=sgd alone)"),
        ((), {"momentum": {"low": 0.1, "high": 0.9}}, {"optimizer": "sgd"}, None),
        ((), {"momentum": {"low": 0.1, "high": 0.9}, "optimizer": {"choices": ["adam", "sgd"]}}, {}, None),
        (
            ("replay",),
            {"replay_buffer": {"low": 10, "high": 99}},
            {"replay_ratio": 0.0},
            "`replay_buffer` (replay is off (replay_ratio=0))",
        ),
        (("replay",), {"replay_buffer": {"low": 10, "high": 99}, "replay_ratio": {"choices": [0.0, 0.5]}}, {}, None),
        (("ewc",), {"ewc_gamma": {"low": 0.1, "high": 0.9}}, {}, "`ewc_gamma` (it acts with ewc_mode=online alone)"),
        (
            ("packnet",),
            {"packnet_rate": {"low": 0.3, "high": 0.9, "zero": True}},
            {"packnet_schedule": "equal"},
            None,  # 0 switches it off
        ),
        (
            ("packnet",),
            {"packnet_rate": {"low": 0.3, "high": 0.9}},
            {"packnet_schedule": "equal"},
            "`packnet_rate` (it acts with packnet_schedule=constant alone)",
        ),
    ],
)
def test_what_is_searched_without_an_effect_is_noted(
    ingredients: tuple[str, ...], search: dict[str, Any], fixed: dict[str, Any], said: str | None
) -> None:
    space = Space.model_validate({"ingredients": ingredients, "fixed": fixed, "search": search})
    found = idle_note(space, hypers_of(ingredients))
    assert found == (None if said is None else f"searched, but without any effect here: {said}")


def test_a_setting_that_would_switch_it_on_is_none_without_effect() -> None:
    for choices in (["", "body.0"], ["body.0", ""]):
        search = {"freeze_layers": {"choices": choices}}
        space = Space.model_validate({"ingredients": ["freeze"], "fixed": {"freeze_depth": 0}, "search": search})
        assert idle_note(space, hypers_of(["freeze"])) is None


def test_what_acts_under_one_of_several_switches_is_none_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    def hyper(name: str, mode: str) -> Hyper:
        return Hyper(name, "float", 0.5, "", low=0.0, only_with=("two_mode", mode))

    mode = Hyper("two_mode", "choice", "a", "", choices=("a", "b"), static=True)
    two = type("Two", (EWC,), {"name": "two", "hypers": (mode, hyper("two_x", "a"), hyper("two_y", "b"))})
    monkeypatch.setitem(registry, "two", two)
    every = {"two_x": {"low": 0.1, "high": 1.0}, "two_y": {"low": 0.1, "high": 1.0}}
    for choices, said in ((["a", "b"], None), (["a"], "`two_y` (it acts with two_mode=b alone)")):
        search = {**every, "two_mode": {"choices": choices}}
        found = idle_note(Space.model_validate({"ingredients": ["two"], "search": search}), hypers_of(["two"]))
        assert found == (None if said is None else f"searched, but without any effect here: {said}")


@pytest.mark.parametrize("only_with", [("two_mod", "a"), ("two_mode", "c")])
def test_a_condition_that_can_never_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, only_with: tuple[str, str]
) -> None:
    mode = Hyper("two_mode", "choice", "a", "", choices=("a", "b"), static=True)
    x = Hyper("two_x", "float", 0.5, "", low=0.0, only_with=only_with)
    monkeypatch.setitem(registry, "two", type("Two", (EWC,), {"name": "two", "hypers": (mode, x)}))
    with pytest.raises(InputError, match="`two_x` has only_with="):
        hypers_of(["two"])


@pytest.mark.parametrize(
    ("ingredients", "seeds", "splits", "noted"),
    [
        (("slda",), 3, 1, True),
        (("slda",), 3, 3, False),
        (("slda",), 1, 1, False),
        (("replay",), 3, 1, False),
        (("ncm", "replay"), 3, 1, False),
    ],
)
def test_seeds_of_what_is_solved_say_nothing_without_splits(
    ingredients: tuple[str, ...], seeds: int, splits: int, noted: bool
) -> None:
    config = StudyConfig(
        space=Space(ingredients=ingredients),
        stream=StreamConfig(name="split-digits", scenario="class-il", splits=splits),
        trials=4,
        seeds=seeds,
    )
    found = same_examples_note(config)
    assert (found is not None) == noted
    assert found is None or found.endswith("`--splits 3` gives each seed a split of its own.")


@pytest.mark.parametrize(
    ("fixed", "search", "expected"),
    [
        ({"epochs": 2, "batch_size": 16}, {}, (14, 64)),
        ({"batch_size": 16}, {"epochs": {"choices": [1, 2]}}, (7, 64)),
        ({"epochs": 1}, {"batch_size": {"low": 10, "high": 100}}, (1, 50)),
    ],
)
def test_the_steps_of_tasks_are_by_hand(
    fixed: dict[str, Any], search: dict[str, Any], expected: tuple[int, int]
) -> None:
    """Of tasks with 99 and 500 training examples, after one that is learned."""
    stream = small_stream()
    tasks = tuple(replace(t, train=np.arange(n)) for t, n in zip(stream.tasks, (5, 99, 500), strict=False))
    config = StudyConfig(space=Space.model_validate({"ingredients": ["replay"], "fixed": fixed, "search": search}))
    assert steps_of_tasks(config, hypers_of(("replay",)), replace(stream, tasks=tasks, n_learned=1)) == expected
