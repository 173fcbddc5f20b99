"""The journal as a record beside `runs/`: read without going on with it, and made anew of the other record."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from cfsweep.config import StudyConfig
from cfsweep.files import write_atomically
from cfsweep.hypers import Value
from cfsweep.sweeping.search.optuna_internals import storage_of, trial_again
from cfsweep.sweeping.search.storage import Journal
from cfsweep.sweeping.search.study import opened_journal
from cfsweep.sweeping.suggest import drawn

NAME = "journal.jsonl"


class Asked(NamedTuple):
    """A trial of a journal: its parameters so far, and whether it has ended."""

    params: dict[str, Value]
    ended: bool


def asked_in(content: bytes, study_id: str) -> dict[int, Asked] | None:
    """By number, the trials that a journal with this content has asked for; None: it is of another study.

    Raises:
        InputError: it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="cfsweep-") as folder:
        path = Path(folder) / NAME
        path.write_bytes(content)
        storage = opened_journal(path)
        studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
        if study_id not in studies:
            return {} if not studies else None
        trials = storage.get_all_trials(studies[study_id], deepcopy=False)
    found = {trial.number: trial for trial in trials if trial.state != TrialState.WAITING}
    return {number: Asked(dict(trial.params), trial.state.is_finished()) for number, trial in found.items()}


def write_journal(
    journal: Path,
    config: StudyConfig,
    kinds: Mapping[str, str],
    params: Mapping[int, Mapping[str, Value]],
    first: Mapping[str, Any],
    reports: Mapping[int, Mapping[int, float]],
) -> None:
    """Makes the journal anew, with the parameters of each trial by number, and the intermediate objectives that were
    reported of it, by task; all of them run, and who goes on with the study tells how they end, as its rows say. A
    number without parameters is asked anew; trial 0 is then `first`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="cfsweep-") as folder:
        path = Path(folder) / NAME
        study = optuna.create_study(
            storage=Journal(path),
            study_name=config.study_id,
            directions=list(config.objective.directions),
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        storage = storage_of(study)
        assert isinstance(storage, Journal)
        storage.file.grouping = True
        for number in range(max(params, default=-1) + 1):
            trial_id = storage.create_new_trial(study._study_id)
            fixed = params.get(number, first if number == 0 else {})
            storage.set_trial_system_attr(trial_id, "fixed_params", dict(fixed))
            if number in params:
                trial = trial_again(study, storage.get_trial(trial_id))
                for name, searched in config.space.search.items():
                    drawn(name, searched, kinds[name], trial)
                for rung, value in reports.get(number, {}).items():
                    trial.report(value, rung)
        storage.file.release()
        content = path.read_bytes()
    write_atomically(journal, lambda file: file.write(content))
