"""Trials that are named beforehand: what a driver asks of an `Asker`."""

from __future__ import annotations

import pytest

from cfsweep.config import StudyConfig
from cfsweep.sweeping.asker import Asker, Proposal
from cfsweep.sweeping.listed import ListedAsker
from cfsweep.sweeping.trials import TrialBook
from tests.sweeping.in_process import tiny

TRIALS = {17: {"lr": 0.1}, 3: {"lr": 0.01}}


@pytest.fixture
def asker() -> ListedAsker:
    """Two trials, the larger number first."""
    return ListedAsker(TRIALS)


def book_of(asker: Asker, **changes: object) -> TrialBook:
    config: StudyConfig = tiny(trials=2, **{"purpose": "confirm", "seeds": 2, "first_seed": 10_000, **changes})
    return TrialBook(config, asker)


def row(trial: int, seed: int) -> dict[str, object]:
    scores = {"val_stability": 0.5, "val_plasticity": 0.75, "objective_mixed": 0.625}
    return {"trial": trial, "seed": seed, "state": "done", "same_as": None, **scores}


def test_all_are_proposed_at_once_by_their_numbers(asker: ListedAsker) -> None:
    assert asker.running() == [Proposal(3, {"lr": 0.01}), Proposal(17, {"lr": 0.1})]
    assert (asker.n_asked, list(asker.numbers)) == (2, [3, 17])
    assert asker.ask(5) == []
    assert (asker.n_asked, asker.pending, asker.best) == (2, False, None)
    asker.running()[0].values["lr"] = 9.0
    assert asker.running()[0].values == TRIALS[3], "what is proposed is a copy"


def test_ends_are_counted(asker: ListedAsker) -> None:
    assert asker.n_ended == {"done": 0, "stopped": 0, "failed": 0}
    asker.tell(3, "done", [0.5])
    asker.tell(17, "failed", None)
    assert asker.n_ended == {"done": 1, "stopped": 0, "failed": 1}
    asker.flush()
    asker.release()
    assert not asker.is_below_median(3, 1, 0.0)


def test_none_has_ended_beforehand(asker: ListedAsker) -> None:
    assert asker.ended([]) == []
    with pytest.raises(ValueError, match=r"trials \[3\] have not ended"):
        asker.ended([3])


def test_a_book_of_them_learns_from_rows_which_have_ended(asker: ListedAsker) -> None:
    book = book_of(asker)
    assert [trial.number for trial in book] == [3, 17]
    assert book.take_up_lost([3]) == [], "all are under way"
    for seed in (10_000, 10_001):
        book.load(row(3, seed))
    book.load(row(17, 10_000))
    for trial in book:
        book.report_end(trial)
    assert asker.n_ended["done"] == 1
    assert [trial.reported for trial in book] == [True, False]
    assert (book.summary().done, book.summary().trials, book.summary().front) == (1, 2, 1)


def test_without_validation_data_a_trial_ends_without_values(asker: ListedAsker) -> None:
    book = book_of(asker, purpose="refit")
    nulls = dict.fromkeys(("val_stability", "val_plasticity", "objective_mixed"))
    for seed in (10_000, 10_001):
        book.load({**row(3, seed), **nulls})
    book.report_end(book[3])
    assert asker.n_ended["done"] == 1
    assert book.summary().front == 0
