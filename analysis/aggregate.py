"""From runs to trials: mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frames import numbers
from analysis.references import METHODS, best_reference
from analysis.seeds import counted, mean_over_seeds
from cfsweep.errors import unknown
from cfsweep.results.schema import MAJORITY_TRIAL

AVERAGE = "average_score"  # what chooses, unless told otherwise
AVERAGE_COLUMN = f"val_{AVERAGE}"
COSTS = ("train_s", "stored_bytes", "n_parameters")
_RESOURCES = (*COSTS, "peak_bytes", "steps")


def trials(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per trial, sorted by trial: state, settings (`hp_*`), and the mean of each number over its seeds.

    Beside each mean `x` stands `x_sd`, the sample standard deviation over seeds (null with one seed). A mean is null
    when any seed lacks the value: seeds are paired, and a mean over fewer of them would compare unlike with unlike.
    `state` is `failed` if any run failed, else `stopped` if any was stopped, else `incomplete` while the trial lacks
    seeds that others have, else `done`. Only `done` trials may enter a front. `failure` joins the reasons.

    Runs with seeds that are being added to the study (`analysis.seeds.being_added`) are left out of all this until
    every trial has them, so that no trial is ranked by more seeds than others, nor drops out for lack of them.
    """
    runs = counted(runs)
    measured = [c for c in runs.columns if c.startswith(("val_", "objective_")) or c in _RESOURCES]
    plain = pd.DataFrame({name: numbers(runs[name]) for name in measured}, index=runs.index)
    trial = runs["trial"].astype("int64")
    mean = mean_over_seeds(plain, trial)
    spread = plain.groupby(trial).std(ddof=1).where(mean.notna()).add_suffix("_sd")

    by_trial = runs.groupby(trial)
    kept = [
        c
        for c in runs.columns
        if c.startswith("hp_") or c in ("method", "config_hash", "same_as", "scenario", "stream")
    ]
    result = by_trial[kept].first()
    all_seeds = set(runs["seed"].tolist())
    result.insert(0, "state", by_trial.apply(_state, all_seeds).astype("string") if len(runs) else "")
    result.insert(1, "n_seeds", by_trial.size())
    numeric = pd.concat([mean, spread], axis=1).astype("Float64")
    result = pd.concat([result, numeric], axis=1)
    result["failure"] = by_trial["failure"].agg(_reasons)
    return result.reset_index().sort_values("trial", ignore_index=True)


def _state(rows: pd.DataFrame, all_seeds: set[int]) -> str:
    states = set(rows["state"].tolist())
    for state in ("failed", "stopped"):
        if state in states:
            return state
    return "done" if all_seeds <= set(rows["seed"].tolist()) else "incomplete"


def _reasons(texts: pd.Series) -> Any:
    """The different reasons of a trial's runs in one text, null without any."""
    return "; ".join(dict.fromkeys(texts.dropna())) or pd.NA


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """The trials of `table` that ran to their end with every seed, each configuration once: trials that were handed the
    results of an equal one are left out. References are not trials."""
    return table[(table["trial"] >= 0) & (table["state"] == "done") & ~repeats(table)].reset_index(drop=True)


def repeats(table: pd.DataFrame) -> pd.Series:
    """Which rows have the results of an equal trial (`same_as`); none in a folder of before there was that."""
    same_as = table.get("same_as")
    return pd.Series(False, table.index) if same_as is None else same_as.notna()


def references(table: pd.DataFrame) -> pd.DataFrame:
    """The finished references of `table`: `majority`, and the best `naive` and `joint`, see `best_reference`."""
    best_ones = [*(best_reference(table, method) for method in METHODS), MAJORITY_TRIAL]
    return table[table["trial"].isin(best_ones) & (table["state"] == "done")].reset_index(drop=True)


def column_of(name: str, columns: Sequence[str]) -> str:
    """The column that holds `name`: a metric, an objective or a cost.

    >>> column_of("stability", ["val_stability", "objective_stability"])
    'val_stability'

    Raises:
        InputError: no column holds it.
    """
    for candidate in (name,) if name in _RESOURCES else (f"val_{name}", f"objective_{name}"):
        if candidate in columns:
            return candidate
    known = [c.split("_", 1)[1] for c in columns if c.startswith(("val_", "objective_")) and not c.endswith("_sd")]
    raise unknown("results", "metric", name, [*dict.fromkeys(known), *COSTS])


def by_seed(runs: pd.DataFrame, trial_numbers: Sequence[int], columns: Sequence[str]) -> NDArray[np.float64]:
    """Values per trial, seed and column, (n_trials, n_seeds, n_columns); NaN where there is none.

    Seeds are those that any of the trials has, ascending.
    """
    chosen = runs[runs["trial"].isin(list(trial_numbers))]
    seeds = sorted(set(chosen["seed"].tolist()))
    result = np.full((len(trial_numbers), len(seeds), len(columns)), np.nan)
    row = chosen["trial"].map({int(t): i for i, t in enumerate(trial_numbers)}).to_numpy(dtype=int)
    seed = chosen["seed"].map({s: i for i, s in enumerate(seeds)}).to_numpy(dtype=int)
    for position, column in enumerate(columns):
        result[row, seed, position] = numbers(chosen[column])
    return result


def best(table: pd.DataFrame, by: str = AVERAGE) -> pd.Series | None:
    """The finished trial with the highest `by`; the lowest trial number among equals; None if there is none."""
    candidates = finished(table)
    values = numbers(candidates[column_of(by, list(table.columns))])
    if not len(values) or np.isnan(values).all():
        return None
    return candidates.iloc[int(np.nanargmax(values))]


def row_of(table: pd.DataFrame, trial: int) -> pd.Series | None:
    """The row of one finished trial or reference, or None."""
    rows = table[(table["trial"] == trial) & (table["state"] == "done")]
    return None if rows.empty else rows.iloc[0]


def value(row: pd.Series | None, name: str) -> float | None:
    """One number of a row as a plain float, None where it is missing."""
    found = None if row is None else row.get(name)
    return None if found is None or pd.isna(found) else float(found)


def settings_of(row: pd.Series) -> dict[str, Any]:
    """The settings of a trial by their names, as plain values; None where one is null.

    >>> settings_of(pd.Series({"trial": 0, "hp_lr": np.float64(0.1), "hp_epochs": np.int64(5), "hp_mode": pd.NA}))
    {'lr': 0.1, 'epochs': 5, 'mode': None}
    """
    return {name[3:]: _plain(row[name]) for name in row.index if name.startswith("hp_")}


def _plain(cell: Any) -> Any:
    if pd.isna(cell):
        return None
    return cell.item() if isinstance(cell, np.generic) else cell
