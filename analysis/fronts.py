"""The stability-plasticity front: which trials are on it, how certain that is, and its hypervolume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import moocore
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.aggregate import AVERAGE, COSTS, best, by_seed, column_of, finished, references, repeats, row_of, value
from analysis.constant_answer import notes_on_majority
from analysis.files import write_whole
from analysis.formatting import plain, trial_name
from analysis.frames import numbers
from analysis.headroom import note_on_gain, note_on_headroom
from analysis.references import n_settings
from analysis.seeds import counted, notes_on_seeds
from analysis.uncertainty import LEAST_SEEDS, Estimate, corrected_means, of_front
from cfsweep.metrics import ALL_METRICS
from cfsweep.metrics.catalogue import SHARE, Bounds
from cfsweep.results.schema import DEFAULT_TRIAL, MAJORITY_TRIAL, METADATA

Floats = NDArray[np.float64]
DEFAULT_OBJECTIVES = ("stability", "plasticity")
SURE = 0.5  # from here on it is likelier than not that noise hides what differs between trials

# The reference point of the hypervolume. A metric counts from the worst value that it can have: an accuracy from 0, a
# transfer from -1, a forgetting from 1; one without a worst value, as of an error, from what the constant answer has. A
# cost is divided by the largest one among the trials and counts from 1.1: from 1.0 the most expensive trial, or every
# trial where all costs are equal, would add no volume.
WORST_COST = 1.1


@dataclass(frozen=True)
class Front:
    """The finished trials with their place relative to the front.

    `table` has one row per ranked trial, best rank first, then by the first objective: the columns of
    `analysis.trials`, `rank` (0 is the front), `on_front`, `front_share` in [0, 1], and `corrected_average_score`,
    in which the best are not flattered (both null with fewer than three seeds, see `analysis.uncertainty`; the latter
    for the default too, which was named beforehand, unless it is the best). `references` are marked, never members.
    `hypervolume` is in units of the normalised objectives; `corrected_hypervolume` is what is left of it without what
    noise adds, with its interval (None with fewer than three seeds). `dropped` counts finished trials without a
    value in some objective.
    """

    objectives: tuple[str, ...]
    table: pd.DataFrame
    references: pd.DataFrame
    dropped: int
    n_seeds: int
    hypervolume: float | None
    corrected_hypervolume: Estimate | None
    reference_point: tuple[float, ...]
    normalisation: str
    notes: tuple[str, ...]
    score_bounds: Bounds = SHARE

    @property
    def members(self) -> pd.DataFrame:
        """The rows on the front, from the lowest first objective to the highest."""
        first = column_of(self.objectives[0], list(self.table.columns))
        return self.table[self.table["on_front"].astype(bool)].sort_values([first, "trial"], ignore_index=True)


def front(
    trials: pd.DataFrame,
    objectives: Sequence[str] = DEFAULT_OBJECTIVES,
    runs: pd.DataFrame | None = None,
    score_bounds: Bounds = SHARE,
) -> Front:
    """The front of the finished trials of `trials` (from `analysis.trials`) in two or three objectives.

    Metrics are maximised; `forgetting_*`, `intransigence` and costs (`train_s`, `stored_bytes`, `n_parameters`) are
    minimised. Trials with equal values are on the front together or not at all. With `runs` (from `analysis.load`) of
    three seeds at least, each trial gets its front share, and the hypervolume a correction and an interval
    (`analysis.uncertainty.of_front`). This is the uncertainty from seeds, and from the splits that they are
    trained on where a study has several; with one, that of which examples are validation data is not in it.
    `score_bounds` are those of the study's score.

    Raises:
        InputError: an objective is unknown.

    References:
        Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (rank).
        Zitzler & Thiele 1998, "Multiobjective Optimization Using Evolutionary Algorithms" (hypervolume).
    """
    columns = [column_of(name, list(trials.columns)) for name in objectives]
    done = finished(trials)
    points = np.column_stack([numbers(done[c]) for c in columns])
    whole = np.flatnonzero(~np.isnan(points).any(axis=1))
    table, points, dropped = done.iloc[whole].reset_index(drop=True), points[whole], len(done) - len(whole)
    n_seeds = int(table["n_seeds"].max()) if len(table) else 0
    maximise, scale = maximised(objectives), _scale(points, objectives)
    worst = reference_point(objectives, score_bounds, _worst_known(trials, columns, points, maximise))
    uncertain, corrected = None, None
    if runs is not None and len(table):
        numbers_of_trials = table["trial"].tolist()
        values = by_seed(counted(runs), numbers_of_trials, [*columns, column_of(AVERAGE, list(trials.columns))])
        uncertain = of_front(values[..., :-1] / scale, maximise, worst, _limits(objectives, score_bounds))
        corrected = None if np.isnan(values[..., -1]).any() else corrected_means(values[..., -1])
        if corrected is not None and numbers_of_trials[int(values[..., -1].mean(1).argmax())] != DEFAULT_TRIAL:
            corrected[[trial == DEFAULT_TRIAL for trial in numbers_of_trials]] = np.nan
    return Front(
        objectives=tuple(objectives),
        table=_ranked(table, points, maximise, None if uncertain is None else uncertain.front_share, corrected),
        references=references(trials),
        dropped=dropped,
        n_seeds=n_seeds,
        hypervolume=hypervolume(points / scale, maximise, worst) if len(points) else None,
        corrected_hypervolume=None if uncertain is None else uncertain.hypervolume,
        reference_point=worst,
        normalisation=_normalisation(objectives, scale),
        notes=(
            *(notes_on_seeds(runs) if runs is not None else ()),
            *_notes(trials, len(table), dropped, n_seeds, runs is not None, objectives),
            *_alike(points, maximise),
            *_hidden(0.0 if uncertain is None else uncertain.alike),
            *_of_references(trials),
            *notes_on_majority(trials, table.loc[ranks(points, maximise) == 0, "trial"].tolist()),
            *_headroom(trials, runs, score_bounds),
        ),
        score_bounds=score_bounds,
    )


def _ranked(
    table: pd.DataFrame, points: Floats, maximise: Sequence[bool], shares: Floats | None, corrected: Floats | None
) -> pd.DataFrame:
    """`table` with the place of each trial relative to the front, best rank first, then by the first objective."""
    rank, nothing = ranks(points, maximise), [pd.NA] * len(table)
    table = table.assign(
        rank=pd.array(rank, dtype="Int64"),
        on_front=rank == 0,
        front_share=pd.array(nothing if shares is None else shares, dtype="Float64"),
        corrected_average_score=pd.array(nothing if corrected is None else corrected, dtype="Float64"),
    )
    order = np.lexsort((table["trial"].to_numpy(), -points[:, 0], rank))
    return table.iloc[order].reset_index(drop=True)


def maximised(objectives: Sequence[str]) -> list[bool]:
    """For each objective, whether more is better.

    >>> maximised(["stability", "train_s", "forgetting_max_before_last"])
    [True, False, False]
    """
    lower = {metric.name for metric in ALL_METRICS if not metric.higher_is_better}
    return [name not in COSTS and name not in lower for name in objectives]


def ranks(points: Floats, maximise: Sequence[bool]) -> NDArray[np.int64]:
    """The non-dominated rank of each of `points` (n, m), 0 for the front; equal points have equal ranks.

    >>> ranks(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]), [True, True]).tolist()
    [0, 0, 1, 0]
    """
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(points, maximise=list(maximise)), dtype=np.int64)


def hypervolume(points: Floats, maximise: Sequence[bool], reference: Sequence[float] | None = None) -> float:
    """The volume that `points` (n, m), costs normalised, dominate above the `reference` point (m): that of the
    objectives, see `reference_point`; without one that of costs and accuracies, or transfers where a value is below 0.

    >>> round(hypervolume(np.array([[0.5, 1.0], [1.0, 0.5]]), [True, True]), 12)
    0.75
    >>> worst = reference_point(["backward_transfer", "plasticity"])
    >>> point = np.array([[-0.2, 0.9]])
    >>> round(hypervolume(point, [True, True], worst), 12), round(hypervolume(point, [True, True]), 12)
    (0.72, 0.72)
    """
    lowest = points.min(axis=0, initial=0.0)  # below 0 is a transfer, whose worst value is -1
    usual = [(0.0 if low >= 0 else -1.0) if up else WORST_COST for low, up in zip(lowest, maximise, strict=True)]
    worst = usual if reference is None else list(reference)
    return float(moocore.hypervolume(points, ref=worst, maximise=list(maximise)))


def reference_point(
    objectives: Sequence[str], score_bounds: Bounds = SHARE, known: Sequence[float] = ()
) -> tuple[float, ...]:
    """The worst value of each objective: from there the hypervolume counts. Where the score of the study, which lies
    within `score_bounds`, has no worst value, it is that which is `known`.

    >>> reference_point(["stability", "backward_transfer", "intransigence", "train_s"])
    (0.0, -1.0, 1.0, 1.1)
    >>> reference_point(["stability", "plasticity"], (-np.inf, 0.0), (-0.5, -0.7))
    (-0.5, -0.7)
    """
    low, high = _limits(objectives, score_bounds)
    worst = [
        WORST_COST if name in COSTS else float(low[place] if up else high[place])
        for place, (name, up) in enumerate(zip(objectives, maximised(objectives), strict=True))
    ]
    return tuple(value if np.isfinite(value) else known[place] for place, value in enumerate(worst))


def _worst_known(
    trials: pd.DataFrame, columns: Sequence[str], points: Floats, maximise: Sequence[bool]
) -> tuple[float, ...]:
    """For each objective what the constant answer comes to, so that what is no better adds no volume; where it is not
    there, the worst of the trials."""
    constant = row_of(trials, MAJORITY_TRIAL)
    worst = np.where(maximise, points.min(axis=0), points.max(axis=0)) if len(points) else np.zeros(len(columns))
    known = [value(constant, column) for column in columns]
    return tuple(float(at) if own is None else own for own, at in zip(known, worst, strict=True))


def _scale(points: Floats, objectives: Sequence[str]) -> Floats:
    """What each objective is divided by before a hypervolume: 1, and for a cost its largest value (1 if all are 0)."""
    largest = points.max(axis=0) if len(points) else np.ones(len(objectives))
    return np.array([(top or 1.0) if name in COSTS else 1.0 for name, top in zip(objectives, largest, strict=True)])


def _limits(objectives: Sequence[str], score_bounds: Bounds) -> tuple[Floats, Floats]:
    """Between what each objective, costs normalised, can be."""
    bounds = {metric.name: metric.within(score_bounds) for metric in ALL_METRICS}
    pairs = np.array([(0.0, np.inf) if name in COSTS else bounds.get(name, score_bounds) for name in objectives])
    return pairs[:, 0], pairs[:, 1]


def _normalisation(objectives: Sequence[str], scale: Floats) -> str:
    costs = [f"{name} / {s:g}" for name, s in zip(objectives, scale, strict=True) if name in COSTS]
    return "none" if not costs else "; ".join(costs) + " (the largest among the trials)"


def _notes(
    trials: pd.DataFrame, ranked: int, dropped: int, n_seeds: int, has_runs: bool, objectives: Sequence[str]
) -> tuple[str, ...]:
    notes = []
    own = trials[trials["trial"] >= 0]
    if not (own["state"] == "done").any():
        notes.append("No trial has finished yet: there is no front.")
    if dropped:
        why = "every one of them: there is no front" if not ranked else "the rest is ranked"
        notes.append(f"{dropped} finished trial(s) left out, without a value in {' or '.join(objectives)} ({why}).")
    if n_equal := int((repeats(own) & (own["state"] == "done")).sum()):
        notes.append(f"Each configuration once: {n_equal} trial(s) that came to the same as an earlier one left out.")
    apart = [f"{n} {state}" for state in ("stopped", "failed", "incomplete") if (n := (own["state"] == state).sum())]
    if apart:
        notes.append(f"Not ranked: {', '.join(apart)}.")
    if ranked and has_runs and n_seeds < LEAST_SEEDS:
        remedy = f"Go on with `cfsweep resume DIR --seeds {LEAST_SEEDS}`."
        notes.append(f"{n_seeds} seed(s): no interval, front share or corrected mean. {remedy}")
    return tuple(notes)


def _hidden(chance: float) -> list[str]:
    """Says so where what differs between trials is likely to be hidden by noise."""
    if chance < SURE:
        return []
    return [
        f"With a probability of {chance:.2f} the trials are so much alike that the noise of seeds hides what differs: "
        "which of them is best is luck."
    ]


def _alike(points: Floats, maximise: Sequence[bool]) -> list[str]:
    """Says so where trials on the front have the very same values: they are one point of it."""
    members = points[ranks(points, maximise) == 0]
    distinct = len(np.unique(members, axis=0))
    if distinct == len(members):
        return []
    count = "one point" if distinct == 1 else f"{distinct} different points"
    return [f"The {len(members)} trials on the front are {count}: some have equal values in all objectives."]


def _headroom(trials: pd.DataFrame, runs: pd.DataFrame | None, score_bounds: Bounds) -> list[str]:
    """Says so where joint is not shown to be above naive, or the trial with the highest average score is not."""
    if runs is None:
        return []
    highest = best(trials)
    gain = None if highest is None else note_on_gain(runs, int(highest["trial"]))
    return [said for said in (note_on_headroom(runs, score_bounds), gain) if said]


def _of_references(trials: pd.DataFrame) -> list[str]:
    """Says so where the references were trained with several settings."""
    n, best_ones = n_settings(trials), references(trials)
    best_ones = best_ones[best_ones["trial"] != MAJORITY_TRIAL]
    if n < 2 or best_ones.empty:
        return []
    tried = trials[trials["trial"] < 0]
    varied = [column for column in tried.columns if column.startswith("hp_") and tried[column].nunique() > 1]
    texts = []
    for _, row in best_ones.iterrows():
        values = [f"{name.removeprefix('hp_')}={plain(row[name], digits=3)}" for name in varied]
        texts.append(f"{trial_name(int(row['trial']))} with {', '.join(values)}")
    return [f"Each reference is the best of {n} settings, by average validation score: {'; '.join(texts)}."]


def write_front(found: Front, path: Path) -> Path:
    """Writes `found.table` and its references to `path` as Parquet, atomically; what it means is in the metadata.

    References have null in `rank`, `on_front` and `front_share`.
    """
    rows = pd.concat([found.table, found.references.reindex(columns=found.table.columns)], ignore_index=True)
    rows["on_front"] = rows["on_front"].astype("boolean")
    content = pa.Table.from_pandas(rows, preserve_index=False)
    volume = found.corrected_hypervolume
    meaning = {
        "objectives": found.objectives,
        "maximised": maximised(found.objectives),
        "hypervolume": found.hypervolume,
        "corrected_hypervolume": volume and volume.value,
        "corrected_hypervolume_interval_95": volume and volume.interval,
        "reference_point": found.reference_point,
        "normalisation": found.normalisation,
        "n_seeds": found.n_seeds,
        "dropped": found.dropped,
        "notes": found.notes,
    }
    content = content.replace_schema_metadata({**METADATA, b"cfsweep_front": json.dumps(meaning).encode()})
    write_whole(path, lambda file: pq.write_table(content, file, compression="zstd"))
    return path
