"""Which seeds count while a study is given more of them, and means over seeds."""

from __future__ import annotations

import pandas as pd


def counted(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` without those of seeds that are being added: all trials are compared over the same seeds at any time."""
    return runs[~runs["seed"].isin(being_added(runs))]


def being_added(runs: pd.DataFrame) -> list[int]:
    """The seeds of `runs` (from `analysis.load`) that were added to the study, and that not every trial and reference
    has yet.

    Such a seed is told by a trial that lacks it, though it was begun before any run with that seed. In a study that
    took no seeds since it was begun there is none, nor does a trial of later, which is under way with all seeds, make
    one: it is incomplete alone. What failed or was stopped is not waited for: it is not ranked, and what was stopped
    gets no more seeds.
    """
    unranked = runs.loc[runs["state"] != "done", "trial"]
    began = runs[~runs["trial"].isin(unranked)].groupby("trial")["started_at"].min()
    found = []
    for seed in sorted(set(runs["seed"].tolist())):
        rows = runs[runs["seed"] == seed]
        lacking = began[~began.index.isin(rows["trial"])]
        if (lacking < rows["started_at"].min()).any():
            found.append(seed)
    return found


def notes_on_seeds(runs: pd.DataFrame) -> list[str]:
    """Says which seeds do not count yet, where there are any."""
    added = being_added(runs)
    return [f"Seeds being added, left out until every trial has them: {', '.join(map(str, added))}."] if added else []


def mean_over_seeds(values: pd.DataFrame, trial: pd.Series) -> pd.DataFrame:
    """The mean of each column of `values` (floats, a row per run) by trial; NaN where any run of it lacks the value."""
    groups = values.groupby(trial)
    return groups.mean().where(groups.count().eq(groups.size(), axis=0))
