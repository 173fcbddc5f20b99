"""Optuna as the sweep sees it: what it proposes, what it is told, and when its file learns of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from cfsweep.config import StudyConfig
from cfsweep.sweeping.asker import Asker
from cfsweep.sweeping.search.asker import OptunaAsker, open_asker
from cfsweep.sweeping.stopping import STARTUP_TRIALS
from cfsweep.training.ingredients import hypers_of
from tests.sweeping.in_process import tiny

HYPERS = hypers_of(("ewc", "replay"))


def asker_of(folder: Path, config: StudyConfig | None = None) -> OptunaAsker:
    return open_asker(folder / "journal.jsonl", config or tiny(), HYPERS)


def in_file(folder: Path) -> list[FrozenTrial]:
    """The trials as another program reads them."""
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.jsonl")))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def test_it_proposes_a_value_for_every_hyperparameter_the_default_first(tmp_path: Path) -> None:
    asker: Asker = asker_of(tmp_path)
    first, *others = asker.ask(1) + asker.ask(3)
    assert [p.number for p in (first, *others)] == [0, 1, 2, 3]
    assert {p.rung for p in (first, *others)} == {0}
    assert all(set(p.values) == set(HYPERS) for p in (first, *others))
    assert first.values["ewc_lambda"] == HYPERS["ewc_lambda"].default
    assert len({p.values["ewc_lambda"] for p in (first, *others)}) == 4
    assert {p.values["batch_size"] for p in others} == {128}, "what is fixed"
    assert asker.n_asked == 4
    assert asker.running() == [], "those of this session are known"


def test_what_is_asked_is_in_the_file_at_once(tmp_path: Path) -> None:
    """Or a pack could be trained whose trials nobody remembers."""
    asker = asker_of(tmp_path)
    asker.ask(3)
    assert not asker.pending
    assert [t.number for t in in_file(tmp_path) if t.state.name == "RUNNING"] == [0, 1, 2]
    assert in_file(tmp_path)[2].params


def test_an_end_counts_at_once_and_is_written_on_release(tmp_path: Path) -> None:
    asker = asker_of(tmp_path)
    asker.ask(4)
    assert asker.best is None
    asker.tell(1, "done", [0.5])
    asker.tell(0, "done", [0.75])
    asker.tell(3, "stopped", None)
    asker.tell(2, "failed", None)
    assert asker.n_ended == {"done": 2, "stopped": 1, "failed": 1}
    assert asker.best == 0.75
    assert asker.pending
    asker.flush()
    assert {t.state.name for t in in_file(tmp_path)} == {"RUNNING"}
    asker.release()
    assert not asker.pending
    assert [t.state.name for t in in_file(tmp_path)] == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED"]
    assert [t.values for t in in_file(tmp_path)] == [[0.75], [0.5], None, None]


def test_intermediate_values_are_written_on_flush(tmp_path: Path) -> None:
    asker = asker_of(tmp_path)
    asker.ask(1)
    asker.is_below_median(0, 1, 0.25)
    assert in_file(tmp_path)[0].intermediate_values == {}
    asker.flush()
    assert in_file(tmp_path)[0].intermediate_values == {1: 0.25}


def test_below_the_median_of_those_that_came_as_far(tmp_path: Path) -> None:
    asker, rng = asker_of(tmp_path, tiny(trials=100)), np.random.default_rng(0)
    values = rng.random(STARTUP_TRIALS).tolist()
    for value in values:
        (trial,) = asker.ask(1)
        assert not asker.is_below_median(trial.number, 1, value), "too few to judge by"
        asker.tell(trial.number, "done", [value])
    for sign in (-1, 1):
        (trial,) = asker.ask(1)
        assert asker.is_below_median(trial.number, 1, float(np.median(values)) + sign * 0.001) is (sign == -1)
        assert not asker.is_below_median(trial.number, 2, 0.0), "nobody came as far"


def test_the_next_session_has_the_same_trials(tmp_path: Path) -> None:
    asker = asker_of(tmp_path)
    asked = asker.ask(4)
    asker.is_below_median(2, 1, 0.5)
    asker.is_below_median(2, 2, 0.5)
    asker.tell(0, "done", [0.5])
    asker.tell(1, "failed", None)
    asker.release()
    again = asker_of(tmp_path)
    assert again.running() == [asked[2]._replace(rung=2), asked[3]]
    assert (again.n_asked, again.best) == (4, 0.5)
    assert again.n_ended == {"done": 1, "stopped": 0, "failed": 1}
    again.tell(3, "done", [0.25])
    (later,) = again.ask(1)
    assert later.number == 4
    assert later.values["ewc_lambda"] not in {p.values["ewc_lambda"] for p in asked}


def test_a_session_that_ended_before_the_first_question_leaves_the_default(tmp_path: Path) -> None:
    asker_of(tmp_path)
    again = asker_of(tmp_path)
    assert (again.n_asked, again.running()) == (0, [])
    first, second = again.ask(2)
    assert first.values["ewc_lambda"] == HYPERS["ewc_lambda"].default
    assert (first.number, second.number, again.n_asked) == (0, 1, 2)


@pytest.mark.parametrize(("objective", "values"), [("mixed", [0.5]), ("pareto", [0.5, 0.25])])
def test_its_study_has_the_objectives_of_the_config(tmp_path: Path, objective: str, values: list[float]) -> None:
    asker = asker_of(tmp_path, tiny(objective=objective))
    asker.ask(1)
    asker.tell(0, "done", values)
    assert asker.study.trials[0].values == values
    assert [d.name for d in asker.study.directions] == ["MAXIMIZE"] * len(values)
