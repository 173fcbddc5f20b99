"""TPE at any number of trials: it looks at a bounded part of the study, and works out several answers at once."""

from __future__ import annotations

from collections.abc import Container
from itertools import islice
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState

from cfsweep.sweep.limits import BEST, MOST_ENDED, MOST_RUNNING
from cfsweep.sweep.storage import Journal

SLACK = 50  # so many more have to end before the part is cut back to `MOST_ENDED - SLACK`
AT_ONCE = 8  # answers from the same two densities, once the part is bounded
CANDIDATES = 24  # for each answer, as in Optuna


class BoundedTPE(TPESampler):
    """Optuna's TPE, to which the study is the best of its ended trials and the latest of the others.

    TPE fits one density to the good trials and one to the rest, with a kernel for each trial, so an answer costs time
    linear in their number, and with several objectives finding the good ones costs more than that. Until more than
    `MOST_ENDED` trials have ended its answers are Optuna's, as long as no more than `MOST_RUNNING` are on their way.
    The study's storage has to be a `Journal`.
    """

    def __init__(self, seed: int, n_startup_trials: int) -> None:
        super().__init__(seed=seed, n_startup_trials=n_startup_trials, n_ei_candidates=CANDIDATES)
        self._ended: list[FrozenTrial] = []
        self._n_known = 0
        self._bounded = False
        self._last: tuple[tuple[int, int], optuna.Study] | None = None
        self._stock: dict[tuple[str, ...], list[dict[str, Any]]] = {}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(self._part(study, trial), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        # TPE would also write the parameters into the journal, for drivers beside this one.
        return self._sample_relative(self._part(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self._part(study, trial), trial, param_name, param_distribution)

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._bounded:
            return super()._sample(study, trial, search_space)
        stock = self._stock.get(tuple(search_space))
        if stock:
            drawn = stock.pop()
        else:
            self._n_ei_candidates = CANDIDATES * AT_ONCE
            drawn = super()._sample(study, trial, {name: _smooth(kind) for name, kind in search_space.items()})
        return {name: _on_grid(search_space[name], value) for name, value in drawn.items()}

    def _compute_acquisition_func(
        self, samples: dict[str, NDArray[Any]], mpe_below: Any, mpe_above: Any
    ) -> NDArray[np.float64]:
        """What TPE ranks its candidates by. It takes the best one; that of each other `CANDIDATES` goes into stock."""
        values: NDArray[np.float64] = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        if self._bounded:
            best = values.reshape(AT_ONCE, CANDIDATES).argmax(axis=1) + CANDIDATES * np.arange(AT_ONCE)
            others = [i for i in best if i != values.argmax()]
            space = mpe_below._search_space
            self._stock[tuple(samples)] = [
                {name: space[name].to_external_repr(found[i].item()) for name, found in samples.items()} for i in others
            ]
        return values

    def _part(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        """The study as TPE is to see it while it answers for `trial`."""
        storage = study._storage
        assert isinstance(storage, Journal)
        key = (trial.number, len(storage.ended))
        if self._last is None or self._last[0] != key:
            self._take_in(study, storage)
            latest = islice(reversed(storage.running), MOST_RUNNING)
            running = [storage.get_trial(trial_id) for trial_id in latest]
            self._last = key, _Part(study, [*self._ended, *running])
        return self._last[1]

    def _take_in(self, study: optuna.Study, storage: Journal) -> None:
        for trial_id in storage.ended[self._n_known :]:
            ended = storage.get_trial(trial_id)
            if ended.state != TrialState.FAIL:
                self._ended.append(ended)
            if len(self._ended) > MOST_ENDED:
                self._ended = telling(study, self._ended, MOST_ENDED - SLACK)
                self._bounded = True
        self._n_known = len(storage.ended)


def telling(study: optuna.Study, trials: list[FrozenTrial], n: int) -> list[FrozenTrial]:
    """`n` of `trials`: the `BEST` ones by TPE's own order, and the latest of the others."""
    best, others = _split_trials(study, trials, BEST)
    numbers = {trial.number for trial in [*best, *others[len(best) - n :]]}
    return [trial for trial in trials if trial.number in numbers]


def _smooth(kind: BaseDistribution) -> BaseDistribution:
    """A range of whole numbers without its grid, where each candidate's mass is an integral per kernel, in Python."""
    if not isinstance(kind, IntDistribution):
        return kind
    return FloatDistribution(kind.low - kind.step / 2, kind.high + kind.step / 2, log=kind.log)


def _on_grid(kind: BaseDistribution, value: Any) -> Any:
    if not isinstance(kind, IntDistribution):
        return value
    return min(kind.high, max(kind.low, kind.low + kind.step * round((value - kind.low) / kind.step)))


class _Part(optuna.Study):
    """A study of which only `trials` can be seen."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._part = sorted(trials, key=lambda trial: trial.number)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._part if states is None or trial.state in states]
