"""What a hyperparameter takes, and what it says to the rest."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from cfsweep.errors import InputError
from cfsweep.hypers import BASE_HYPERS, Hyper

RATE = Hyper("rate", "float", 0.5, "a rate", low=0.0, high=1.0, high_open=True)
COUNT = Hyper("count", "int", 5, "a count", low=1)
KIND = Hyper("kind", "choice", "a", "a kind", choices=("a", "b"))


@pytest.mark.parametrize(
    ("hyper", "value", "taken"),
    [(RATE, 0, 0.0), (RATE, 0.999, 0.999), (COUNT, 1, 1), (COUNT, 7.0, 7), (KIND, "b", "b")],
)
def test_legal_values_become_its_type(hyper: Hyper, value: Any, taken: Any) -> None:
    found = hyper.check(value, "here")
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("hyper", "value"),
    [
        *((RATE, value) for value in (1.0, -0.1, math.nan, math.inf, True, "0.5", None, [0.5])),
        *((COUNT, value) for value in (0, 1.5, math.inf, -math.inf, math.nan, "3", True)),
        *((KIND, value) for value in ("c", 1.0, True, None)),
    ],
)
def test_all_else_is_refused_with_rule_value_and_default(hyper: Hyper, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        hyper.check(value, "here")
    text = str(caught.value)
    assert text.startswith("here: ")
    assert hyper.rule in text
    assert f"{hyper.name}={value!r}" in text
    assert f"The default is {hyper.default!r}" in text


def test_the_rule_in_words() -> None:
    assert RATE.rule == "0 <= rate < 1"
    assert COUNT.rule == "1 <= count, a whole number"
    assert KIND.rule == "one of a, b"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "flaot"}, "Hyper `rate`: `kind` must be one of float, int, choice, but got 'flaot'"),
        ({"takes_effect": "Later"}, "`takes_effect` must be one of start, cut, later, answers, but got 'Later'"),
        ({"default": 1.0}, "`default` must be a legal value, but got 1.0"),
        ({"default": "0.5"}, "`default` must be a legal value, but got '0.5'"),
        ({"off": "0"}, "`off` must be a number, but got '0'"),
        ({"off": -1.0}, "`off` must be a legal value, but got -1.0"),
        ({"choices": ("a",)}, "a choice needs `choices` or `layers`, and no other kind has any"),
        ({"kind": "choice"}, "a choice needs `choices` or `layers`"),
        ({"kind": "choice", "choices": ("a", "b"), "default": "c"}, "`default` must be a legal value, but got 'c'"),
        ({"kind": "choice", "choices": ("a",), "default": "a", "off": "a"}, "`off` must be a number, but got 'a'"),
    ],
)
def test_one_that_contradicts_itself_is_refused_where_it_is_defined(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^Hyper `rate`: .*|{re.escape(said)}") as caught:
        replace(RATE, **changed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hyper", BASE_HYPERS, ids=lambda hyper: hyper.name)
def test_a_default_is_legal(hyper: Hyper) -> None:
    assert hyper.check(hyper.default, "here") == hyper.default


@pytest.mark.parametrize("only_with", ["mode", ("mode",), ("mode", "a", "b"), ("n", 2), ("x", "a"), ["mode", "a"]])
def test_a_condition_names_another_choice_and_one_of_its_values(only_with: Any) -> None:
    with pytest.raises(ValueError, match="`only_with` must be"):
        Hyper("x", "float", 0.5, "", only_with=only_with)
