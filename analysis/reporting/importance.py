"""Which settings mattered: permutation importance of a random forest, on held-out trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import column_of, finished
from analysis.description import Setting
from analysis.frames import numbers

MIN_TRIALS = 20
FOLDS = 5
TREES = 100
REPEATS = 10  # shuffles of each setting


Drop = tuple[float, float, float]


@dataclass(frozen=True)
class Importance:
    """`values[name]` is the drop in held-out R² when that setting is shuffled (mean, lowest and highest of the folds);
    None: too few trials, or nothing to explain, and `note` says which. `r2` is the forest's held-out R².

    R² is 1 at most and has no lower bound, so neither has a drop an upper one: above 1 the forest, told a wrong value,
    predicts worse than the mean would.
    """

    target: str
    values: dict[str, Drop | None]
    r2: float | None
    n_trials: int
    note: str


def importance(trials: pd.DataFrame, settings: Sequence[Setting], target: str = "average_score") -> Importance:
    """How much each setting tells about `target` over the finished trials of `trials` (from `analysis.trials`).

    A forest is fitted on four fifths of the trials and scored on the rest, five times over, so that a setting without
    influence comes out near zero. Trees use the order of the values alone, so logarithmic scales make no difference.
    In place of a null (a setting that could not act) stands a value of the other trials, drawn at random. With a value
    of its own it would tell, as well as the setting that switches its ingredient off does, that the ingredient is off,
    and would be given a part of what that one deserves. A setting that has one value beside nulls does not vary.

    References:
        Breiman 2001, "Random Forests", sec. 10.
    """
    done = finished(trials)
    y = numbers(done[column_of(target, list(trials.columns))]) if len(done) else np.zeros(0)
    done, y = done[~np.isnan(y)], y[~np.isnan(y)]
    varied = [s for s in settings if s.column in done.columns and done[s.column].nunique() > 1]
    nothing: dict[str, Drop | None] = {s.name: None for s in settings}
    if len(y) < MIN_TRIALS:
        return Importance(target, nothing, None, len(y), f"Too few trials: {len(y)} finished, {MIN_TRIALS} needed.")
    if not varied or np.ptp(y) == 0:
        return Importance(target, nothing, None, len(y), "Nothing to explain: no setting or no result varies.")
    drops, scores = _held_out(_features(done, varied), y)
    values = nothing | {
        s.name: (float(d.mean()), float(d.min()), float(d.max())) for s, d in zip(varied, drops.T, strict=True)
    }
    r2 = float(np.mean(scores))
    weak = " It predicts no better than the mean: do not read the bars." if r2 <= 0 else ""
    note = f"Random forest on {len(y)} trials, {FOLDS} folds; R² on held-out trials {r2:.2f}.{weak}"
    if any(drop is not None and drop[2] > 1 for drop in values.values()):
        note += " A drop above 1: told a wrong value of that setting, it predicts worse than the mean."
    if done[[s.column for s in varied]].isna().any(axis=None):
        note += " Where a setting could not act (–), a random one of its values stands in, which tells nothing."
    return Importance(target, values, r2, len(y), note)


def _features(done: pd.DataFrame, settings: Sequence[Setting]) -> NDArray[np.float64]:
    """(n_trials, n_settings); a choice becomes its place in the alphabet, which a tree can split anywhere, and a null
    one of the setting's values in the other trials, the same at every call."""
    draw, columns = np.random.default_rng(0), []
    for setting in settings:
        column = done[setting.column]
        values = numbers(column.astype("category").cat.codes if setting.kind == "choice" else column).copy()
        null = column.isna().to_numpy(dtype=bool)
        values[null] = draw.choice(values[~null], null.sum())
        columns.append(values)
    return np.column_stack(columns)


def _held_out(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    # scikit-learn takes a second to import, and only the report needs it.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    drops, scores = [], []
    for fit, rest in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        forest = RandomForestRegressor(TREES, random_state=0, min_samples_leaf=2).fit(x[fit], y[fit])
        found = permutation_importance(forest, x[rest], y[rest], n_repeats=REPEATS, random_state=0, scoring="r2")
        drops.append(found.importances_mean)
        scores.append(float(forest.score(x[rest], y[rest])))
    return np.array(drops), scores
