"""Paired comparisons of trials over their common seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.aggregate import best, by_seed, column_of, trials
from analysis.among import among
from analysis.choice import CORRECTED, selection
from analysis.description import Root, Study, study
from analysis.formatting import trial_name
from analysis.frames import load
from analysis.noise import ROUNDING
from analysis.seeds import counted
from analysis.uncertainty import Estimate, Interval, Side, corrected, paired
from cfsweep.errors import InputError, NoAnswerError, few
from cfsweep.results.schema import DEFAULT_TRIAL

COMPARED = ("average_score", "stability", "plasticity", "train_s", "stored_bytes")
HIGHEST = "highest average validation score"


@dataclass(frozen=True)
class Difference:
    """`second - first` in one metric over the `seeds` that both have: the means, and their difference with its
    interval, Student's of paired differences (None with fewer than three seeds, and where these do not vary, as of
    bytes or of the time of a pack that all seeds share). Where a trial was chosen by its score among `n_among` (where
    both were, the larger number), both flatter it; `corrected` is the difference without that (None too for costs, and
    where both trials were named beforehand: `n_among` is 1 then)."""

    metric: str
    first: float
    second: float
    difference: float
    interval: Interval | None
    seeds: tuple[int, ...]
    corrected: Estimate | None = None
    n_among: int = 1

    @property
    def n_seeds(self) -> int:
        """How many seeds both have."""
        return len(self.seeds)


@dataclass(frozen=True)
class Party:
    """One of two trials that are compared, of the study in `root`. `named`: it was given, or is the default beside the
    chosen one, and counts as named beforehand. `leads` says why its study would choose it, as `chosen_trial` does;
    empty where it would not."""

    root: Root
    trial: int
    named: bool
    leads: str


@dataclass(frozen=True)
class Comparison:
    """Who is compared, and the differences, one for each metric."""

    first: Party
    second: Party
    differences: list[Difference]


def chosen_trial(root: Root, runs: pd.DataFrame) -> tuple[int, str]:
    """The trial that stands for a study, and why: the selected one, else the highest average validation score.

    Raises:
        NoAnswerError: no trial has finished.
    """
    record = selection(root)
    if record is not None:
        return int(record["trial"]), f"selected by {record['rule']}"
    found = best(trials(runs))
    if found is None:
        raise NoAnswerError(f"{root}: no trial has finished yet.")
    return int(found["trial"]), HIGHEST


def compare(
    root: Root, other: Root | None = None, first: int | None = None, second: int | None = None
) -> list[Difference]:
    """Paired differences, second minus first, over the seeds that both have, and that count where a trial is chosen.

    Two folders: the chosen trial of each unless given. One folder: `first` against `second`, which default to the
    library's default settings and the chosen trial. A trial that is given counts as named beforehand, so that nothing
    is corrected for its choice.

    Raises:
        InputError: a trial is not there or not finished, or no seed is common.
    """
    return comparison(root, other, first, second).differences


def comparison(
    root: Root, other: Root | None = None, first: int | None = None, second: int | None = None
) -> Comparison:
    """What `compare` returns, and who is compared; arguments and errors are the same."""
    runs = load(root)
    if other is None:
        one = _party(root, runs, DEFAULT_TRIAL if first is None else first)
        two = _party(root, runs, second)
        return Comparison(one, two, _differences(runs, one, runs, two))
    apart = differing_data(study(root), study(other))
    if apart:
        raise InputError(
            f"compare: {root} and {other} differ in {', '.join(apart)}, so that their seeds are no pairs. Compare "
            "studies of the same data."
        )
    others = load(other)
    one, two = _party(root, runs, first), _party(other, others, second)
    return Comparison(one, two, _differences(runs, one, others, two))


def _differences(first_runs: pd.DataFrame, one: Party, second_runs: pd.DataFrame, two: Party) -> list[Difference]:
    chosen = (not one.named, not two.named)
    return compare_runs(first_runs, one.trial, second_runs, two.trial, chosen=chosen)


def _party(root: Root, runs: pd.DataFrame, named: int | None) -> Party:
    if named is None:
        trial, why = chosen_trial(root, runs)
        return Party(root, trial, False, why)
    record, highest = selection(root), best(trials(runs))
    leads = HIGHEST if highest is not None and int(highest["trial"]) == named else ""
    leads = f"selected by {record['rule']}" if record is not None and int(record["trial"]) == named else leads
    return Party(root, named, True, leads)


def differing_data(one: Study, two: Study) -> list[str]:
    """What of the data of two studies differs, in words: the scenario, settings of the stream, the tasks, the files.
    Only where nothing does, runs of one seed have seen the same examples in the same order.

    A stream of one's own may lie elsewhere, and is the same if its files are. How examples are standardised is no part
    of it: a remedy may need its own.
    """
    found = []
    if one.scenario != two.scenario:
        found.append(f"scenario ({one.scenario} and {two.scenario})")
    streams = [dict((about.raw.get("config") or {}).get("stream") or {}) for about in (one, two)]
    hashes, tasks = ([about.raw.get(key) or {} for about in (one, two)] for key in ("data_sha256", "tasks"))
    moved = "/" in one.stream and "/" in two.stream and hashes[0] == hashes[1] and bool(hashes[0])
    if one.stream != two.stream and not moved:
        found.append(f"stream ({one.stream} and {two.stream})")
    for name in _OF_THE_DATA:
        values = [stream.get(name, _BEFORE.get(name)) for stream in streams]
        if values[0] != values[1]:
            found.append(f"stream.{name} ({values[0]} and {values[1]})")
    if not found and tasks[0] != tasks[1]:
        found.append("their tasks")
    names = sorted(name for name in hashes[0].keys() | hashes[1].keys() if hashes[0].get(name) != hashes[1].get(name))
    return found + ([f"the files {few(names)}"] if names and not found else [])


_OF_THE_DATA = (
    *("class_order", "n_tasks", "validation_frac", "steering_frac", "split_seed", "splits", "target", "learned"),
    *("scores", "positive", "class_weights", "args"),
)
# Of studies that do not say.
_BEFORE = {"splits": 1, "target": "classification", "learned": 0, "scores": [], "args": {}}


def compare_runs(
    first_runs: pd.DataFrame,
    first: int,
    second_runs: pd.DataFrame,
    second: int,
    metrics: Sequence[str] = COMPARED,
    chosen: tuple[bool, bool] = (False, False),
) -> list[Difference]:
    """`compare` on run tables, of one study if they are the same object; `chosen` tells which of the two was chosen by
    its score among the trials of its study. Where one was, seeds count once all trials have them, as for the choice.
    Metrics without a value on either side are left out."""
    one_study = first_runs is second_runs
    if any(chosen):
        first_runs, second_runs = counted(first_runs), counted(second_runs)
    one, two = _finished(first_runs, first), _finished(second_runs, second)
    seeds = sorted(set(one["seed"]) & set(two["seed"]))
    if not seeds:
        raise InputError(f"compare: trials {first} and {second} share no seed. Sweep both with the same --seeds.")
    columns = [column_of(metric, list(first_runs.columns)) for metric in metrics]
    one, two = (
        by_seed(rows[rows["seed"].isin(seeds)], [trial], columns)[0] for rows, trial in ((one, first), (two, second))
    )
    found = []
    for metric, a, b in zip(metrics, one.T, two.T, strict=True):
        if np.isnan(a).any() or np.isnan(b).any():
            continue
        of_pairs, of_choice, n_among = paired(b - a), None, 1
        if metric in CORRECTED and any(chosen):
            sides = (
                (among(first_runs, metric, seeds).side(first) if chosen[0] else None) or Side(a[None]),
                (among(second_runs, metric, seeds).side(second) if chosen[1] else None) or Side(b[None]),
            )
            of_choice, n_among = corrected(*sides, one_study), max(len(side.values) for side in sides)
        means = float(a.mean()), float(b.mean())
        # What differs by the same in each seed by construction would have an interval without any width.
        varies = np.ptp(b - a) > ROUNDING * max(np.abs(a).max(), np.abs(b).max())
        between = of_pairs.interval if of_pairs is not None and varies else None
        found.append(Difference(metric, *means, float((b - a).mean()), between, tuple(seeds), of_choice, n_among))
    return found


def _finished(runs: pd.DataFrame, trial: int) -> pd.DataFrame:
    rows = runs[(runs["trial"] == trial) & (runs["state"] == "done")]
    if rows.empty:
        raise InputError(
            f"compare: trial {trial_name(trial)} has no finished run. `cfsweep table DIR --all` lists them."
        )
    return rows
