"""Which of the references stands for `naive` and for `joint`, where each was trained with several settings.

The third one, `majority`, is not trained, and there is one of it: `analysis.constant_answer`.
"""

from __future__ import annotations

import pandas as pd

from analysis.seeds import counted, mean_over_seeds
from cfsweep.results.schema import JOINT, NAIVE, reference_method, reference_trial

METHODS = (NAIVE, JOINT)  # those that are trained


def best_reference(rows: pd.DataFrame, method: str) -> int:
    """The number of the reference `method` (`naive` or `joint`) with the highest average validation score, as trials
    are chosen; among equals the one with the default settings, or the first after it. Where none has finished, that
    with the default settings.

    Settings are compared over the same seeds, those that count (`analysis.seeds.counted`), and have finished where they
    have them all: one that has a seed before the others do, since seeds are being added, gains nothing by it.

    `rows` are those of `analysis.load`, of all trials and references, or of `analysis.trials`: the answer is the same.
    """
    mine = {trial: of for trial, of in _finished(rows).items() if reference_method(trial) == method}
    return max(mine, key=lambda trial: (mine[trial], trial), default=reference_trial(method))


def _finished(rows: pd.DataFrame) -> dict[int, float]:
    """The average score of each trial and reference that has finished."""
    n_rows = 1
    if "seed" in rows.columns:
        rows = counted(rows)
        n_rows = rows["seed"].nunique()
    trial = rows["trial"].astype("int64")
    accuracy = rows[["val_average_score"]].astype("Float64").astype("float64")
    mean = mean_over_seeds(accuracy, trial)["val_average_score"]
    n_done = (rows["state"] == "done").groupby(trial).sum()
    mean = mean[n_done == n_rows].dropna()
    return dict(zip(mean.index.tolist(), mean.tolist(), strict=True))


def n_settings(rows: pd.DataFrame) -> int:
    """With how many settings each reference that is trained was trained."""
    numbers = {int(trial) for trial in rows["trial"] if trial < 0}
    return max((sum(reference_method(n) == method for n in numbers) for method in METHODS), default=0)
