"""The checks of a trainer from outside pass for good ones, and each of them fails for one that breaks it."""

from __future__ import annotations

import pytest

from cfsweep.errors import InputError
from cfsweep.testing import TRAINER_CHECKS, check_trainer

HERE = "tests.training.outside.trainers"
SETTINGS = {"kept": 0.5, "rate": 0.9}


@pytest.mark.parametrize("name", ["train", "in_a_folder", "validation_alone", "with_counts"])
def test_good_ones_pass(name: str) -> None:
    check_trainer(f"{HERE}:{name}", SETTINGS)


def test_one_that_returns_another_score_is_held_against_its_bounds() -> None:
    check_trainer(f"{HERE}:with_errors", SETTINGS, score="neg_rmse")
    with pytest.raises(InputError, match="`0 <= accuracy <= 1` must hold"):
        check_trainer(f"{HERE}:with_errors", SETTINGS)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("draws_anew", "the_same_call_gives_the_same_scores"),
        ("leaves_something_behind", "it_does_not_depend_on_its_neighbours"),
        ("not_a_number", "the_same_call_gives_the_same_scores"),
    ],
)
def test_bad_ones_fail_by_name(name: str, check: str) -> None:
    with pytest.raises(AssertionError) as told:
        check_trainer(f"{HERE}:{name}", SETTINGS)
    assert any(f"`{check}`" in note for note in told.value.__notes__)
    assert check in {each.__name__ for each in TRAINER_CHECKS}
