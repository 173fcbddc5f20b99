"""The journal that is written in groups holds what Optuna's own would."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from cfsweep.sweeping.search.storage import Journal


def begin(path: Path) -> tuple[optuna.Study, Journal]:
    storage = Journal(path)
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize", load_if_exists=True)
    return study, storage


def in_file(path: Path) -> list[FrozenTrial]:
    """The trials as another program reads them."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="s", storage=storage).trials


def act(study: optuna.Study, n: int) -> list[optuna.Trial]:
    trials = [study.ask() for _ in range(n)]
    for trial in trials:
        trial.suggest_float("x", 0, 1)
        trial.suggest_int("k", 1, 9)
        trial.report(0.5, 1)
    return trials


def test_without_grouping_every_operation_is_in_the_file(tmp_path: Path) -> None:
    study, _ = begin(tmp_path / "j")
    (trial,) = act(study, 1)
    assert in_file(tmp_path / "j") == study.trials
    study.tell(trial, 1.0)
    assert in_file(tmp_path / "j") == study.trials


def test_what_is_written_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = begin(tmp_path / "j")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    (trial,) = act(study, 1)
    study.tell(trial, 1.0)
    assert synced[-1] == (tmp_path / "j").stat().st_size


def test_a_group_is_in_the_study_at_once_and_in_the_file_when_it_is_written(tmp_path: Path) -> None:
    study, storage = begin(tmp_path / "j")
    storage.file.grouping = True
    before = (tmp_path / "j").read_bytes()
    trials = act(study, 3)
    with storage.file.held():
        study.tell(trials[1], 1.0)
        study.tell(trials[0], state=TrialState.PRUNED)
    assert [t.state.name for t in study.trials] == ["PRUNED", "COMPLETE", "RUNNING"]
    assert (tmp_path / "j").read_bytes() == before
    assert storage.file.pending
    storage.file.flush()
    assert [t.state.name for t in in_file(tmp_path / "j")] == ["RUNNING"] * 3
    assert [t.params for t in in_file(tmp_path / "j")] == [t.params for t in study.trials]
    storage.file.release()
    assert not storage.file.pending
    assert in_file(tmp_path / "j") == study.trials == begin(tmp_path / "j")[0].trials


def test_it_knows_what_runs_and_what_has_ended(tmp_path: Path) -> None:
    study, storage = begin(tmp_path / "j")
    study.enqueue_trial({"x": 0.5})
    trials = act(study, 4)
    study.tell(trials[2], 1.0)
    study.tell(trials[0], state=TrialState.FAIL)
    assert (list(storage.running), storage.ended) == ([1, 3], [2, 0])
    again = begin(tmp_path / "j")[1]
    assert (list(again.running), again.ended) == ([1, 3], [0, 2])


def test_what_another_program_writes_is_kept_apart_and_taken_in(tmp_path: Path) -> None:
    study, storage = begin(tmp_path / "j")
    other, _ = begin(tmp_path / "j")
    storage.file.grouping = True
    act(study, 1)
    storage.file.flush()
    other.set_user_attr("note", "hello")
    added = other.ask()
    added.suggest_float("x", 0, 1)
    with storage.file.together():
        (mine,) = act(study, 1)
    assert mine.number == 2
    assert study.user_attrs == {"note": "hello"}
    assert in_file(tmp_path / "j") == study.trials
    other.tell(added, 1.0)  # the lock is free


def test_a_group_that_breaks_off_is_written_later_and_leaves_no_lock(tmp_path: Path) -> None:
    study, storage = begin(tmp_path / "j")
    storage.file.grouping = True

    def breaks_off() -> None:
        with storage.file.together():
            act(study, 2)
            raise KeyError

    with pytest.raises(KeyError):
        breaks_off()
    assert not (tmp_path / "j.lock").exists()
    assert in_file(tmp_path / "j") == []
    storage.file.release()
    assert in_file(tmp_path / "j") == study.trials
