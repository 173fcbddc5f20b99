"""Paired comparisons of trials over their common seeds, and gates for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.aggregate import best, by_seed, column_of, row_of, trials, value
from analysis.bootstrap import interval, resampled_means
from analysis.choice import selection
from analysis.constant_answer import beaten_by_majority
from analysis.description import Root, Study, study
from analysis.formatting import trial_name
from analysis.frames import load
from analysis.references import best_reference
from analysis.seeds import counted
from cfsweep.errors import InputError, NoAnswerError, few, unknown
from cfsweep.results.schema import DEFAULT_TRIAL, NAIVE

OPPONENTS = ("default", NAIVE)
COMPARED = ("average_accuracy", "stability", "plasticity", "train_s", "stored_bytes")


@dataclass(frozen=True)
class Difference:
    """`second - first` in one metric over the seeds both have: mean, 95 % bootstrap interval (None with one seed)."""

    metric: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    n_seeds: int


def chosen_trial(root: Root, runs: pd.DataFrame) -> tuple[int, str]:
    """The trial that stands for a study, and why: the selected one, else the highest average validation accuracy.

    Raises:
        NoAnswerError: no trial has finished.
    """
    record = selection(root)
    if record is not None:
        return int(record["trial"]), f"selected by {record['rule']}"
    found = best(trials(runs))
    if found is None:
        raise NoAnswerError(f"{root}: no trial has finished yet.")
    return int(found["trial"]), "highest average validation accuracy"


def gate(
    root: Root,
    min_average_accuracy: float | None = None,
    min_stability: float | None = None,
    min_plasticity: float | None = None,
    beats: str | None = None,
) -> list[str]:
    """Checks the study's chosen trial (see `chosen_trial`) on validation data and returns one line per check passed.

    A trial that is no better than the constant answer (`analysis.constant_answer`) fails whatever is asked. Minima are
    in [0, 1], for the mean over seeds. `beats` (`default`, `naive`) asks for a higher average accuracy
    over the same seeds; the line gives the interval. Seeds that are being added count once every trial has them, as in
    `analysis.trials`. The highest of many validation accuracies is biased upwards, so select a trial before, and set
    the minimum with a margin.

    Raises:
        InputError: nothing to check, or an unknown `beats`.
        NoAnswerError: a check fails; the message lists every failure.
    """
    minima = {"average_accuracy": min_average_accuracy, "stability": min_stability, "plasticity": min_plasticity}
    if beats is None and all(limit is None for limit in minima.values()):
        raise InputError(
            "gate: nothing to check. Give --min-average-accuracy, --min-stability, --min-plasticity, --beats."
        )
    if beats is not None and beats not in OPPONENTS:
        raise unknown("gate", "opponent", beats, OPPONENTS)
    runs = counted(load(root))
    trial, why = chosen_trial(root, runs)
    table = trials(runs)
    row = row_of(table, trial)
    checks = [_minimum(row, name, limit) for name, limit in minima.items() if limit is not None]
    if beats is not None:
        checks.append(_beats(runs, trial, beats))
    if beaten := beaten_by_majority(table, trial):
        checks.append((False, beaten))
    who = f"trial {trial_name(trial)} ({why})"
    failures = [text for passed, text in checks if not passed]
    if failures:
        raise NoAnswerError(f"{root}: {who} fails: {'; '.join(failures)}.")
    return [f"{who}: {text}" for _, text in checks]


def _minimum(row: pd.Series | None, name: str, limit: float) -> tuple[bool, str]:
    found = value(row, f"val_{name}")
    if found is None:
        return False, f"{name} has no value"
    return found >= limit, f"{name} {found:.4f} {'>=' if found >= limit else '<'} {limit:g}"


def _beats(runs: pd.DataFrame, trial: int, opponent: str) -> tuple[bool, str]:
    try:
        other = best_reference(runs, NAIVE) if opponent == NAIVE else DEFAULT_TRIAL
        (found,) = compare_runs(runs, other, runs, trial, ["average_accuracy"])
    except InputError:
        return False, f"{opponent} has no finished run over the same seeds"
    spread = "" if found.interval is None else f", 95% interval {found.interval[0]:+.4f} to {found.interval[1]:+.4f}"
    verb = "beats" if found.difference > 0 else "does not beat"
    return found.difference > 0, f"{verb} {opponent} in average_accuracy ({found.difference:+.4f}{spread})"


def compare(
    root: Root, other: Root | None = None, first: int | None = None, second: int | None = None
) -> list[Difference]:
    """Paired differences, second minus first, over the seeds that both have.

    Two folders: the chosen trial of each unless given. One folder: `first` against `second`, which default to the
    library's default settings and the chosen trial.

    Raises:
        InputError: a trial is not there or not finished, or no seed is common.
    """
    runs = load(root)
    if other is None:
        return compare_runs(runs, DEFAULT_TRIAL if first is None else first, runs, _or_chosen(root, runs, second))
    apart = differing_data(study(root), study(other))
    if apart:
        raise InputError(
            f"compare: {root} and {other} differ in {', '.join(apart)}, so that their seeds are no pairs. Compare "
            "studies of the same data."
        )
    others = load(other)
    return compare_runs(runs, _or_chosen(root, runs, first), others, _or_chosen(other, others, second))


def differing_data(one: Study, two: Study) -> list[str]:
    """What of the data of two studies differs, in words: the scenario, settings of the stream, the tasks, the files.
    Only where nothing does, runs of one seed have seen the same examples in the same order.

    A stream of one's own may lie elsewhere, and is the same if its files are.
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
    *("class_order", "n_tasks", "validation_frac", "steering_frac", "split_seed", "splits", "target", "standardise"),
    "args",
)
_BEFORE = {"splits": 1, "target": "classification", "standardise": "scalar", "args": {}}  # of studies that do not say


def _or_chosen(root: Root, runs: pd.DataFrame, trial: int | None) -> int:
    return chosen_trial(root, runs)[0] if trial is None else trial


def compare_runs(
    first_runs: pd.DataFrame, first: int, second_runs: pd.DataFrame, second: int, metrics: Sequence[str] = COMPARED
) -> list[Difference]:
    """`compare` on run tables; metrics without a value on either side are left out."""
    one, two = _finished(first_runs, first), _finished(second_runs, second)
    seeds = sorted(set(one["seed"]) & set(two["seed"]))
    if not seeds:
        raise InputError(f"compare: trials {first} and {second} share no seed. Sweep both with the same --seeds.")
    columns = [column_of(m, list(first_runs.columns)) for m in metrics]
    pair = [by_seed(rows[rows["seed"].isin(seeds)], [t], columns)[0] for rows, t in ((one, first), (two, second))]
    differences = pair[1] - pair[0]
    means = resampled_means(differences[None])[:, 0]
    return [
        Difference(
            metric,
            float(pair[0][:, i].mean()),
            float(pair[1][:, i].mean()),
            float(differences[:, i].mean()),
            interval(means[:, i]) if len(seeds) > 1 else None,
            len(seeds),
        )
        for i, metric in enumerate(metrics)
        if not np.isnan(differences[:, i]).any()
    ]


def _finished(runs: pd.DataFrame, trial: int) -> pd.DataFrame:
    rows = runs[(runs["trial"] == trial) & (runs["state"] == "done")]
    if rows.empty:
        raise InputError(f"compare: trial {trial_name(trial)} has no finished run. `analysis table --all` lists them.")
    return rows
