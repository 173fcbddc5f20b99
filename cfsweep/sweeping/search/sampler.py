"""TPE at any number of trials: it looks at a bounded part of the study, and works out several answers at once."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cfsweep.sweeping.search.limits import BEST, MOST_ENDED, MOST_RUNNING
from cfsweep.sweeping.search.optuna_internals import OpenTPE, PartOfStudy, SearchSpace, best_by_tpe, storage_of
from cfsweep.sweeping.search.storage import Journal

SLACK = 50  # so many more have to end before the part is cut back to `MOST_ENDED - SLACK`
AT_ONCE = 8  # answers from the same two densities, once the part is bounded
CANDIDATES = 24  # for each answer, as in Optuna


class BoundedTPE(OpenTPE):
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

    def draw(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
        if not self._bounded:
            return super().draw(study, trial, space)
        stock = self._stock.get(tuple(space))
        if stock:
            drawn = stock.pop()
        else:
            self.set_n_candidates(CANDIDATES * AT_ONCE)
            drawn = super().draw(study, trial, {name: _smooth(kind) for name, kind in space.items()})
        return {name: _on_grid(space[name], value) for name, value in drawn.items()}

    def rank(self, candidates: dict[str, NDArray[Any]], values: NDArray[np.float64], space: SearchSpace) -> None:
        """TPE takes the best candidate; the best of each other `CANDIDATES` goes into stock."""
        if not self._bounded:
            return
        best = values.reshape(AT_ONCE, CANDIDATES).argmax(axis=1) + CANDIDATES * np.arange(AT_ONCE)
        others = [i for i in best if i != values.argmax()]
        self._stock[tuple(candidates)] = [
            {name: space[name].to_external_repr(found[i].item()) for name, found in candidates.items()} for i in others
        ]

    def study_seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        storage = storage_of(study)
        assert isinstance(storage, Journal)
        key = (trial.number, len(storage.ended))
        if self._last is None or self._last[0] != key:
            self._take_in(study, storage)
            latest = islice(reversed(storage.running), MOST_RUNNING)
            running = [storage.get_trial(trial_id) for trial_id in latest]
            self._last = key, PartOfStudy(study, [*self._ended, *running])
        return self._last[1]

    def _take_in(self, study: optuna.Study, storage: Journal) -> None:
        for trial_id in storage.ended[self._n_known :]:
            ended = storage.get_trial(trial_id)
            if ended.state != TrialState.FAIL:
                self._ended.append(ended)
            if len(self._ended) > MOST_ENDED:
                self._ended = kept_trials(study, self._ended, MOST_ENDED - SLACK)
                self._bounded = True
        self._n_known = len(storage.ended)


def kept_trials(study: optuna.Study, trials: list[FrozenTrial], n: int) -> list[FrozenTrial]:
    """`n` of `trials`: the `BEST` ones by TPE's own order, and the latest of the others."""
    best, others = best_by_tpe(study, trials, BEST)
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
