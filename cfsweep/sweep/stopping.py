"""Which trials to stop between tasks, because they lose.

With one objective Optuna's median pruner decides. With several, Optuna cannot, and a trial is stopped when its
non-domination rank among all trials that came as far lies behind the median rank.
"""

from __future__ import annotations

from typing import Protocol

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray

from cfsweep.config import ObjectiveConfig
from cfsweep.metrics import mixed_after

STARTUP_TRIALS = 8  # rungs with fewer trials stop nobody


class Stopper(Protocol):
    """`stops(trial, rung, value)`: whether the trial loses, given its intermediate objective after task `rung`."""

    def stops(self, trial: optuna.Trial, rung: int, value: tuple[float, ...]) -> bool: ...


def intermediate(matrix: NDArray[np.float64], objective: ObjectiveConfig) -> tuple[float, ...]:
    """The objective as far as it is known after the tasks of `matrix` (tasks_done >= 2, n_tasks), to be maximised.

    `mixed`: its mean so far. `pareto`: stability and plasticity over the tasks seen, each in [0, 1].

    >>> intermediate(np.array([[0.9, 0.5], [0.7, 0.8]]), ObjectiveConfig(name="pareto"))
    (0.7, 0.8500000000000001)
    """
    last = len(matrix) - 1
    if objective.name == "mixed":
        return (float(np.mean([mixed_after(matrix, t, objective.old_weight) for t in range(1, last + 1)])),)
    return (float(matrix[last, :last].mean()), float(np.diag(matrix).mean()))


class MedianStopper:
    """The pruner of the study, Optuna's median rule: a value under the median of the others' at this rung loses."""

    def stops(self, trial: optuna.Trial, rung: int, value: tuple[float, ...]) -> bool:
        trial.report(value[0], rung)
        return trial.should_prune()


class RankStopper:
    """Non-dominated sorting per rung (Deb et al. 2002, section III-A): a rank behind the median rank loses."""

    def __init__(self) -> None:
        self.rungs: dict[int, list[tuple[float, ...]]] = {}

    def stops(self, trial: optuna.Trial, rung: int, value: tuple[float, ...]) -> bool:
        here = self.rungs.setdefault(rung, [])
        here.append(value)
        if len(here) <= STARTUP_TRIALS:
            return False
        ranks = moocore.pareto_rank(np.asarray(here), maximise=True)
        return bool(ranks[-1] > np.median(ranks))
