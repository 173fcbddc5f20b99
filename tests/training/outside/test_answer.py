"""What a trainer from outside may return, and what a user reads who returns something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.training.outside import answer_of, score_returned

HERE = "tests.training.outside.trainers"
NAMED = {"old": 0.9, "new": 0.5}


@pytest.mark.parametrize(
    "scores",
    [
        [0.9, 0.5],
        (0.9, 0.5),
        np.array([0.9, 0.5]),
        torch.tensor([0.9, 0.5], dtype=torch.float64),
        [torch.tensor(0.9, dtype=torch.float64), np.float64(0.5)],
        {"validation": [0.9, 0.5]},
        {"validation": NAMED},
    ],
)
def test_scores_may_be_a_list_an_array_or_a_mapping(scores: Any) -> None:
    answer = answer_of((scores, b"x"), "here")
    assert answer.scores == {"validation": [0.9, 0.5]}
    assert answer.n_examples == {}
    assert answer.n_tasks == 2
    assert answer.state == b"x"


def test_both_parts_their_counts_and_the_names_of_the_tasks() -> None:
    told = {"test": [0.0, 1], "n_validation": np.array([20, 30]), "validation": NAMED, "n_test": {"old": 5, "new": 6.0}}
    answer = answer_of((told, None), "here", n_tasks=2, last=True)
    assert answer.scores == {"validation": [0.9, 0.5], "test": [0.0, 1.0]}
    assert answer.n_examples == {"validation": [20, 30], "test": [5, 6]}
    assert answer.names == ("old", "new")
    assert answer.state is None


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "must return (scores, state), but returned None"),
        ([[0.5], b""], "must return (scores, state), but returned a list"),
        (([0.5, 0.5, 0.5], b""), "`validation` must have a number for each of 2 tasks, but has 3. Score every task"),
        (([0.5], b""), "`validation` must have a number for each of 2 tasks, but has 1"),
        (({"validation": [0.5, 0.5], "test": [0.5]}, b""), "`test` must have a number for each of 2 tasks, but has 1"),
        ((0.5, b""), "`validation` must be a list of numbers, but is a float"),
        (("ab", b""), "`validation` must be a list of numbers, but is a str"),
        (([0.5, "0.5"], b""), "`validation` must be a list of numbers, but has a str in it"),
        (([0.5, None], b""), "`validation` must be a list of numbers, but has None in it"),
        (([0.5, float("nan")], b""), "the validation score on task 1 is nan. Give a number"),
        (([0.5, float("inf")], b""), "the validation score on task 1 is inf"),
        (([0.5, 50.0], b""), "`0 <= accuracy <= 1` must hold, but got 50 (validation, task 1)"),
        (([-0.1, 0.5], b""), "`0 <= accuracy <= 1` must hold, but got -0.1"),
        (({"test": [0.5, 0.5]}, b""), "the scores have no `validation`"),
        (({"valid": [0.5, 0.5]}, b""), "unknown part of the scores `valid`. Known, closest first: validation"),
        (({"validation": [0.5, 0.5], "n_test": [5, 0]}, b""), "`n_test` must be whole numbers from 1 up, but got 0"),
        (
            ({"validation": [0.5, 0.5], "n_test": [5, 2.5]}, b""),
            "`n_test` must be whole numbers from 1 up, but got 2.5",
        ),
        (({"validation": NAMED, "test": {"new": 0.5, "old": 0.9}}, b""), "must name the same tasks in the same order"),
        (([0.5, 0.5], None), "it returned no state"),
        (([0.5, 0.5], {"w": 1}), "the state must be bytes or a folder (a pathlib.Path)"),
        (([0.5, 0.5], torch.nn.Linear(1, 1)), "but is a Linear. Save it, with torch.save"),
        (([0.5, 0.5], "a/folder"), "but is a str"),
        (([0.5, 0.5], Path("not/there")), "the state must be a folder, but not/there is none"),
    ],
)
def test_what_is_none_is_one_line(returned: Any, said: str) -> None:
    with pytest.raises(InputError) as told:
        answer_of(returned, "trainer `a:b`, task 0", n_tasks=2)
    assert str(told.value).startswith("trainer `a:b`, task 0: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("score", "value", "rule"),
    [
        ("roc_auc", 1.5, "0 <= roc_auc <= 1"),
        ("neg_rmse", 0.5, "neg_rmse <= 0"),
        ("r2", 1.25, "r2 <= 1"),
        ("label_accuracy", -0.5, "0 <= label_accuracy <= 1"),
        (f"{HERE}:points", 10.5, "0 <= points <= 10"),
        (f"{HERE}:points", -1, "0 <= points <= 10"),
    ],
)
def test_a_score_lies_within_its_own_bounds(score: str, value: float, rule: str) -> None:
    returned = score_returned("a:b", [score])
    with pytest.raises(InputError) as told:
        answer_of(([0.0, value], b""), "here", score=returned)
    assert str(told.value).startswith(f"here: `{rule}` must hold, but got {value:g} (validation, task 1). ")


@pytest.mark.parametrize(("score", "value"), [("neg_rmse", -1e6), ("r2", -3.0), (f"{HERE}:points", 9.5), ("pr_auc", 1)])
def test_what_lies_within_them_is_taken(score: str, value: float) -> None:
    assert answer_of(([value], b""), "here", score=score_returned("a:b", [score])).scores == {"validation": [value]}


def test_an_unknown_score_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^trainer `a:b`: unknown score `rmse`\. Known, closest first: neg_rmse"):
        score_returned("a:b", ["rmse"])
