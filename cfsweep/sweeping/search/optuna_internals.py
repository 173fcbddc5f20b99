"""All that cfsweep uses of Optuna beyond its public interface, by names of our own. Tried with Optuna 5.0.

`tests/sweeping/search/test_optuna_internals.py` says what has moved where a newer version breaks this.
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from cfsweep.files import until_there_is_room

SearchSpace = dict[str, BaseDistribution]


def storage_of(study: optuna.Study) -> BaseStorage:
    """Where the study keeps its trials."""
    return study._storage


def new_trial(study: optuna.Study) -> optuna.Trial:
    """As `study.ask()`, which would look through all trials for one that waits."""
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id))


def trial_again(study: optuna.Study, frozen: FrozenTrial) -> optuna.Trial:
    """A trial that is running, to go on with."""
    return optuna.Trial(study, frozen._trial_id)


def trials_in(storage: BaseStorage) -> list[tuple[int, TrialState]]:
    """(id, state) of each trial in a storage."""
    return [
        (trial._trial_id, trial.state)
        for study in storage.get_all_studies()
        for trial in storage.get_all_trials(study._study_id, deepcopy=False)
    ]


def best_by_tpe(study: optuna.Study, trials: list[FrozenTrial], n: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """The `n` best of `trials` by TPE's own order, and the others."""
    return _split_trials(study, trials, n)


class JournalFile(JournalFileBackend):
    """A journal file of which subclasses see path and lock."""

    @property
    def path(self) -> str:
        return self._file_path

    def locked(self) -> AbstractContextManager[None]:
        """Holds the file against other writers."""
        return _Held(self._lock)


class _Held(AbstractContextManager[None]):
    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def __enter__(self) -> None:
        until_there_is_room(self.lock.acquire)  # which makes a link

    def __exit__(self, *error: object) -> None:
        self.lock.release()


class OpenTPE(TPESampler):
    """TPE with three places where a subclass may step in: what it sees of the study, how it draws, how it ranks."""

    def study_seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        """The study as TPE is to see it while it answers for `trial`."""
        return study

    def draw(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        """The parameters of `trial`."""
        return super()._sample(study, trial, space)

    def rank(self, candidates: dict[str, NDArray[Any]], values: NDArray[np.float64], space: SearchSpace) -> None:
        """Hears of the candidates and of the `values` (n,) that TPE ranks them by; it takes the best one."""

    def set_n_candidates(self, n: int) -> None:
        self._n_ei_candidates = n

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> SearchSpace:
        return super().infer_relative_search_space(self.study_seen(study, trial), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: SearchSpace) -> dict[str, Any]:
        # TPE would also write the parameters into the journal, for drivers beside this one.
        return self._sample_relative(self.study_seen(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self.study_seen(study, trial), trial, param_name, param_distribution)

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: SearchSpace) -> dict[str, Any]:
        return self.draw(study, trial, search_space)

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[np.float64]:
        values: NDArray[np.float64] = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        self.rank(samples, values, mpe_below._search_space)
        return values


class PartOfStudy(optuna.Study):
    """A study of which only `trials` can be seen."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._part = sorted(trials, key=lambda trial: trial.number)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._part if states is None or trial.state in states]
