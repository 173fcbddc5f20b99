"""The hyperparameters of a trainer from outside are what its space names, as it is written."""

from __future__ import annotations

from typing import Any

import pytest

from cfsweep.config import Range, Space
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.sweeping.free_settings import free_hypers
from cfsweep.sweeping.space import check_space
from cfsweep.sweeping.suggest import default_params, suggest


def hypers_of(**content: Any) -> dict[str, Hyper]:
    return check_space(Space.model_validate({"trainer": "a:b", **content}), "space.yaml")


@pytest.mark.parametrize(
    ("searched", "kind", "default"),
    [
        ({"low": 1, "high": 9}, "int", 5),
        ({"low": 1, "high": 100, "log": True}, "int", 10),
        ({"low": 1.0, "high": 9}, "float", 5.0),
        ({"low": 0, "high": 1.0}, "float", 0.5),
        ({"low": 1e-4, "high": 1e-2, "log": True}, "float", 0.001),
        ({"low": 1.0, "high": 9.0, "whole": True}, "int", 5),
        ({"low": 1, "high": 9, "whole": False}, "float", 5.0),
        ({"choices": [4, 2]}, "int", 4),
        ({"choices": [4, 2.5]}, "float", 4),
        ({"choices": ["b", "a"]}, "choice", "b"),
    ],
)
def test_a_kind_is_read_from_how_it_is_written(searched: dict[str, Any], kind: str, default: object) -> None:
    (hyper,) = hypers_of(search={"any name": searched}).values()
    assert (hyper.name, hyper.kind, hyper.default) == ("any name", kind, default)
    assert not hyper.static


@pytest.mark.parametrize(("value", "kind"), [(4, "int"), (0.5, "float"), ("full", "choice")])
def test_so_is_that_of_a_fixed_value(value: object, kind: str) -> None:
    (hyper,) = hypers_of(fixed={"x": value}).values()
    assert (hyper.kind, hyper.default) == (kind, value)


def test_the_names_of_cfsweeps_own_settings_mean_nothing_here() -> None:
    hypers = hypers_of(fixed={"optimizer": "lion"}, search={"momentum": {"low": 0.0, "high": 5.0}})
    assert list(hypers) == ["optimizer", "momentum"]


def test_a_trial_has_all_of_them_within_what_is_searched() -> None:
    space = Space.model_validate(
        {
            "trainer": "a:b",
            "fixed": {"mode": "full"},
            "search": {
                "n": {"low": 2, "high": 9, "zero": True},
                "lr": {"low": 0.1, "high": 0.4},
                "m": {"choices": [1, 3]},
            },
        }
    )

    class Highest:
        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return high

        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return high

        def suggest_categorical(self, name: str, choices: Any) -> Any:
            return choices[-1]

    values = suggest(space, free_hypers(space, "x"), Highest())
    assert values == {"mode": "full", "n": 9, "lr": 0.4, "m": 3}
    assert isinstance(values["n"], int)
    assert default_params(space, free_hypers(space, "x")) == {"n": 6, "lr": 0.25, "m": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"ingredients": ["ewc"]}, "`ingredients` are of cfsweep's own training, but `trainer: a:b` has its own"),
        ({"network": {"name": "cnn"}}, "`network` are of cfsweep's own training"),
        ({"fixed": {"x": 1}, "search": {"x": {"low": 1, "high": 2}}}, "`x` is both fixed and searched"),
        ({"search": {"x": {"choices": [1, "a"]}}}, "choices are words or numbers, but `x` has both (1, a)"),
    ],
)
def test_what_does_not_go_together(content: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"^space\.yaml: ") as told:
        hypers_of(**content)
    assert said in str(told.value)


def test_whole_is_for_trainers_from_outside_alone() -> None:
    whole = Range(low=1, high=5, whole=True)
    with pytest.raises(InputError, match=r"space\.yaml: `whole` is for the settings of a trainer from outside"):
        check_space(Space(search={"epochs": whole}), "space.yaml")
    with pytest.raises(ValueError, match="bounds that are whole numbers must hold"):
        Range(low=1, high=5.5, whole=True)


def test_without_a_trainer_a_range_stays_as_it_was() -> None:
    assert Space.model_validate({"search": {"epochs": {"low": 1, "high": 9}}}).search["epochs"] == Range(low=1, high=9)
