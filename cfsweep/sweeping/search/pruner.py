"""Optuna's median rule at any number of trials."""

from __future__ import annotations

from bisect import insort

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from cfsweep.sweeping.search.optuna_internals import storage_of
from cfsweep.sweeping.search.storage import Journal


class RunningMedian(BasePruner):
    """Decides as `MedianPruner(n_startup_trials)` does where values are to be maximised and none is NaN.

    That one reads all trials for each decision; here the values of each step are kept sorted, and a trial's are added
    once it is complete. The study's storage has to be a `Journal`.
    """

    def __init__(self, n_startup_trials: int) -> None:
        self.n_startup_trials = n_startup_trials
        self.n_complete = 0
        self._values: dict[int, list[float]] = {}
        self._n_known = 0

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self._take_in(study)
        step = trial.last_step
        if step is None or self.n_complete < max(1, self.n_startup_trials) or step not in self._values:
            return False
        values = self._values[step]
        lower, upper = values[(len(values) - 1) // 2], values[len(values) // 2]
        return max(trial.intermediate_values.values()) < upper - (upper - lower) * 0.5

    def _take_in(self, study: optuna.Study) -> None:
        storage = storage_of(study)
        assert isinstance(storage, Journal)
        for trial_id in storage.ended[self._n_known :]:
            ended = storage.get_trial(trial_id)
            if ended.state == TrialState.COMPLETE:
                self.n_complete += 1
                for step, value in ended.intermediate_values.items():
                    insort(self._values.setdefault(step, []), value)
        self._n_known = len(storage.ended)
