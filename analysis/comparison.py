"""Paired comparisons of trials over their common seeds, and gates for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.aggregate import AVERAGE, best, by_seed, column_of, row_of, trials, value
from analysis.among import among
from analysis.choice import CORRECTED, selection
from analysis.constant_answer import beaten_by_majority, tasks_behind
from analysis.description import Root, Study, study
from analysis.formatting import trial_name
from analysis.frames import load
from analysis.noise import ROUNDING
from analysis.references import best_reference
from analysis.seeds import being_added, counted
from analysis.uncertainty import LEAST_SEEDS, Estimate, Interval, Side, corrected, paired
from cfsweep.errors import InputError, NoAnswerError, few, unknown
from cfsweep.results.schema import DEFAULT_TRIAL, NAIVE
from cfsweep.texts import score_text

OPPONENTS = ("default", NAIVE)
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


def gate(
    root: Root,
    min_average_score: float | None = None,
    min_stability: float | None = None,
    min_plasticity: float | None = None,
    beats: str | None = None,
    margin: float = 0.0,
) -> list[str]:
    """Checks the study's chosen trial (see `chosen_trial`) on validation data and returns one line per check passed,
    and one more where it is no better than the constant answer on some tasks.

    A trial that is no better than the constant answer (`analysis.constant_answer`) fails whatever is asked. Minima are
    within the bounds of the score, for the true mean over seeds: the raw mean of the best of many is too high, so that
    a minimum is held against the corrected one (`analysis.uncertainty.corrected_means`; with fewer than three seeds
    there is none, and the line says so). That is an estimate: no interval has to lie above the minimum. `beats`
    (`default`, `naive`) asks that the average score be higher by more than `margin`: the interval of the corrected
    difference over the same seeds must lie above it, which takes three seeds. `naive` with several settings is the best
    of them, and not corrected for that, which makes it harder to beat. Seeds that are being added count once every
    trial has them, as in `analysis.trials`.

    Raises:
        InputError: nothing to check, a minimum that the score cannot have, an unknown `beats`, or a margin without it
            or as wide as the score's bounds.
        NoAnswerError: a check fails; the message lists every failure.
    """
    minima = {"average_score": min_average_score, "stability": min_stability, "plasticity": min_plasticity}
    if beats is None and all(limit is None for limit in minima.values()):
        raise InputError(
            "gate: nothing to check. Give --min-average-score, --min-stability, --min-plasticity, --beats."
        )
    low, high = study(root).score_bounds
    for name, limit in minima.items():
        if limit is not None and not low <= limit <= high:
            option = f"min-{name.replace('_', '-')}"
            rule = f"`{low:g} <= {option} <= {high:g}`"
            raise InputError(f"gate: {rule} must hold, but got --{option} {limit:g}. Change it.")
    if beats is not None and beats not in OPPONENTS:
        raise unknown("gate", "opponent", beats, OPPONENTS)
    if not 0 <= margin < high - low:
        raise InputError(f"gate: `0 <= margin < {high - low:g}` must hold, but got {margin:g}. Change it.")
    if margin and beats is None:
        raise InputError(f"gate: a margin needs an opponent, but got {margin:g} alone. Give --beats.")
    runs = counted(load(root))
    trial, why = chosen_trial(root, runs)
    table = trials(runs)
    row = row_of(table, trial)
    checks = [_minimum(runs, row, trial, name, limit) for name, limit in minima.items() if limit is not None]
    if beats is not None:
        checks.append(_beats(runs, trial, beats, margin))
    if beaten := beaten_by_majority(table, trial):
        checks.append((False, beaten))
    who = f"trial {trial_name(trial)} ({why})"
    failures = [text for passed, text in checks if not passed]
    if failures:
        raise NoAnswerError(f"{root}: {who} fails: {'; '.join(failures)}.")
    behind = tasks_behind(root, trial, being_added(load(root)))
    return [*(f"{who}: {text}" for _, text in checks), *([behind] if behind else [])]


def _minimum(runs: pd.DataFrame, row: pd.Series | None, trial: int, name: str, limit: float) -> tuple[bool, str]:
    raw = value(row, f"val_{name}")
    if raw is None:
        return False, f"{name} has no value"
    others = among(runs, name)
    held = others.corrected(trial)
    said = f"{score_text(raw)} before the correction for the choice among {len(others.trials)}"
    if held is None:
        held, said = raw, f"not corrected for the choice among {len(others.trials)}, as {_few(others.n_seeds)}"
    return held >= limit, f"{name} {score_text(held)} {'>=' if held >= limit else '<'} {limit:g} ({said})"


def _beats(runs: pd.DataFrame, trial: int, opponent: str, margin: float) -> tuple[bool, str]:
    try:
        other = best_reference(runs, NAIVE) if opponent == NAIVE else DEFAULT_TRIAL
        (found,) = compare_runs(runs, other, runs, trial, [AVERAGE], chosen=(False, True))
    except InputError:
        return False, f"{opponent} has no finished run over the same seeds"
    raw = f"does not beat {opponent} in {AVERAGE} ({score_text(found.difference, sign='+')}"
    if trial == other:
        return False, f"{raw}: it is {opponent} itself)"
    if found.corrected is None:
        return False, f"{raw}, but {_few(found.n_seeds)})"
    held = found.corrected.interval[0] > margin
    verb = "beats" if held else "does not beat"
    by = f" by more than {margin:g}" if margin else ""
    return held, (
        f"{verb} {opponent} in {AVERAGE}{by} ({found.corrected.text}, corrected for the choice among "
        f"{found.n_among}; raw {score_text(found.difference, sign='+')})"
    )


def _few(n_seeds: int) -> str:
    return f"{n_seeds} seed(s) tell nothing of luck; `cfsweep resume DIR --seeds {LEAST_SEEDS}` does"


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
    *("learned", "scores", "positive", "class_weights", "args"),
)
# Of studies that do not say.
_BEFORE = {"splits": 1, "target": "classification", "standardise": "scalar", "learned": 0, "scores": [], "args": {}}


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
