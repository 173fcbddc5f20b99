"""The Optuna study in a file: it opens again, whatever its writer left."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from cfsweep.config import StudyConfig
from cfsweep.sweeping.search.study import open_study, repair
from cfsweep.sweeping.suggest import suggest
from cfsweep.training.ingredients import hypers_of
from tests.sweeping.in_process import tiny

HYPERS = hypers_of(("ewc", "replay"))


def ask(study: optuna.Study, config: StudyConfig) -> dict[str, object]:
    trial = study.ask()
    values = suggest(config.space, HYPERS, trial)
    study.tell(trial, 0.5)
    return {name: values[name] for name in config.space.search}


def test_optuna_opens_it_by_itself(tmp_path: Path) -> None:
    journal, config = tmp_path / "journal.jsonl", tiny()
    ask(open_study(journal, config, HYPERS), config)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    found = optuna.load_study(study_name=config.study_id, storage=storage)
    assert [t.state for t in found.trials] == [TrialState.COMPLETE]
    assert found.direction.name == "MAXIMIZE"


def test_reopened_it_has_the_same_trials_and_draws_other_numbers(tmp_path: Path) -> None:
    config = tiny()
    study = open_study(tmp_path / "a.log", config, HYPERS)
    first = [ask(study, config) for _ in range(4)]
    again = open_study(tmp_path / "a.log", config, HYPERS)
    assert [t.params for t in again.trials] == [t.params for t in study.trials]
    later = [ask(again, config) for _ in range(4)]
    assert not [values for values in later if values in first]
    other = open_study(tmp_path / "b.log", config, HYPERS)
    assert [ask(other, config) for _ in range(4)] == first  # the same study draws the same


@pytest.mark.parametrize("seed", [1, 4294, 4295, 2**40])
def test_any_sampler_seed_will_do(tmp_path: Path, seed: int) -> None:
    config = tiny(sampler_seed=seed)
    study = open_study(tmp_path / "journal.jsonl", config, HYPERS)
    assert ask(study, config)
    assert ask(study, config) not in ({}, ask(open_study(tmp_path / "other.log", tiny(), HYPERS), config))


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_cut(tmp_path: Path, cut: int) -> None:
    journal, config = tmp_path / "journal.jsonl", tiny()
    study = open_study(journal, config, HYPERS)
    ask(study, config)
    ask(study, config)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    reopened = open_study(journal, config, HYPERS)
    assert len(reopened.trials) == 2
    assert reopened.trials[0].state == TrialState.COMPLETE
    assert reopened.trials[1].state == TrialState.RUNNING  # its end was the torn line
    assert ask(reopened, config)


def test_without_the_repair_a_torn_line_breaks_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, config = tmp_path / "journal.jsonl", tiny()
    ask(open_study(journal, config, HYPERS), config)
    journal.write_bytes(journal.read_bytes()[:-5])
    monkeypatch.setattr("cfsweep.sweeping.search.study.repair", lambda journal: None)
    with pytest.raises(ValueError, match="its last line is torn"):
        open_study(journal, config, HYPERS).ask()


def test_a_stale_lock_costs_nothing(tmp_path: Path) -> None:
    journal, config = tmp_path / "journal.jsonl", tiny()
    ask(open_study(journal, config, HYPERS), config)
    lock = journal.with_name("journal.jsonl.lock")
    lock.symlink_to(journal)
    started = time.monotonic()
    ask(open_study(journal, config, HYPERS), config)
    assert time.monotonic() - started < 10
    assert not lock.exists()


def test_a_journal_that_was_never_begun(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b'{"op_co')
    repair(journal)
    assert journal.read_bytes() == b""
    assert len(open_study(journal, tiny(), HYPERS).trials) == 1  # the default, waiting


def test_killed_before_the_default_was_queued(tmp_path: Path) -> None:
    config = tiny()
    whole = open_study(tmp_path / "a.log", config, HYPERS)
    assert [t.state for t in whole.trials] == [TrialState.WAITING]
    lines = (tmp_path / "a.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "b.log").write_bytes(lines[0])
    again = open_study(tmp_path / "b.log", config, HYPERS)
    assert [t.state for t in again.trials] == [TrialState.WAITING]
    assert again.trials[0].system_attrs == whole.trials[0].system_attrs


def test_killed_between_asking_and_suggesting(tmp_path: Path) -> None:
    config = tiny()
    study = open_study(tmp_path / "journal.jsonl", config, HYPERS)
    number = study.ask().number
    again = open_study(tmp_path / "journal.jsonl", config, HYPERS)
    frozen = again.trials[number]
    values = suggest(config.space, HYPERS, optuna.Trial(again, frozen._trial_id))
    assert values["ewc_lambda"] == HYPERS["ewc_lambda"].default  # still the default trial
