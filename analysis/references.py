"""Which of the references stands for `naive` and for `joint`, where each was trained with several settings."""

from __future__ import annotations

import pandas as pd

from cfsweep.results.schema import JOINT, NAIVE, reference_method, reference_trial

METHODS = (NAIVE, JOINT)


def best_reference(rows: pd.DataFrame, method: str) -> int:
    """The number of the reference `method` (`naive` or `joint`) with the highest average validation accuracy over its
    seeds, as trials are chosen; among equals the one with the default settings, or the first after it. Where none has
    finished, that with the default settings.

    `rows` are those of `analysis.load` or of `analysis.trials`.
    """
    mine = rows[[reference_method(int(trial)) == method for trial in rows["trial"]]]
    if mine.empty:
        return reference_trial(method)
    by_trial = mine.groupby(mine["trial"].astype("int64"))
    size = by_trial.size()
    mean = by_trial["val_average_accuracy"].agg(lambda of: of.astype("Float64").mean(skipna=False))
    whole = by_trial["state"].agg(lambda of: bool((of == "done").all())) & (size == size.max()) & mean.notna()
    finished = {int(trial): float(mean[trial]) for trial in mean.index[whole]}
    return max(finished, key=lambda trial: (finished[trial], trial), default=reference_trial(method))


def n_settings(rows: pd.DataFrame) -> int:
    """With how many settings each reference was trained."""
    numbers = {int(trial) for trial in rows["trial"] if trial < 0}
    return max((sum(reference_method(n) == method for n in numbers) for method in METHODS), default=0)
