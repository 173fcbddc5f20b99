"""What a rule of stopping would have done to a sweep that was recorded without one: pure arithmetic on its matrices.

Trials arrive in a random order, as many at once as the sweep had on its way, and advance in step. That leaves out that
a sampler learns from what was stopped; `benchmarks.stopping` therefore sweeps with the shipped rule as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from cfsweep.config import ObjectiveConfig
from cfsweep.sweeping.stopping import STARTUP_TRIALS, intermediate, standard_errors
from cfsweep.training.targets import target_of

Floats = NDArray[np.float64]
Loses = Callable[[tuple[float, ...], tuple[float, ...], Floats], bool]
SHARES = (0.25, 0.5, 0.75)  # of the whole training, where hypervolumes are compared
PARETO = ObjectiveConfig(name="pareto")
ACCURACY = target_of("classification").scores[0]
REFERENCE = (0.5, 0.5)  # of every hypervolume: what guessing between two classes gets


@dataclass(frozen=True)
class Recording:
    """The accuracy matrices (n_trials, n_tasks, n_tasks) of a sweep that stopped nobody, on so many examples a task."""

    matrices: Floats
    n_examples: tuple[int, ...]
    at_once: int

    @property
    def n_tasks(self) -> int:
        return len(self.n_examples)

    @property
    def points(self) -> Floats:
        """(stability, plasticity) of every trial at the end, (n_trials, 2)."""
        return np.array([intermediate(matrix, PARETO) for matrix in self.matrices])


class Judge(Protocol):
    """Decides in one replay: `loses` after each task in between, `finish` when a trial has gone all the way."""

    def loses(self, trial: int, rung: int) -> bool: ...
    def finish(self, trial: int) -> None: ...


@dataclass(frozen=True)
class RankRule:
    """Judges a value by its errors and the others' values on the same rung, once there are `startup` of them."""

    name: str
    rule: Loses
    first_rung: int = 1
    startup: int = STARTUP_TRIALS

    def judge(self, recording: Recording) -> Judge:
        return ByRank(self, recording)


class ByRank:
    """`RankRule` on intermediate stability and plasticity; a rung holds all that came to it, stopped there or not."""

    def __init__(self, by: RankRule, recording: Recording) -> None:
        rungs = range(by.first_rung, recording.n_tasks - 1)
        so_far = {t: recording.matrices[:, : t + 1] for t in rungs}
        self.by = by
        self.values = {t: [intermediate(matrix, PARETO) for matrix in so_far[t]] for t in rungs}
        n = recording.n_examples
        self.errors = {t: [standard_errors(matrix, n, ACCURACY) for matrix in so_far[t]] for t in rungs}
        self.came: dict[int, list[int]] = {t: [] for t in rungs}

    def loses(self, trial: int, rung: int) -> bool:
        if rung < self.by.first_rung:
            return False
        values = self.values[rung]
        others = np.array([values[other] for other in self.came[rung]]).reshape(-1, 2)
        self.came[rung].append(trial)
        return len(others) >= self.by.startup and self.by.rule(values[trial], self.errors[rung][trial], others)

    def finish(self, trial: int) -> None:
        """Rungs ask for no more than to have been there."""


@dataclass(frozen=True)
class MedianRule:
    """Optuna's `PercentilePruner(keeps)` on `mixed`; 50 is its `MedianPruner`."""

    name: str
    keeps: float = 50.0
    startup: int = STARTUP_TRIALS

    def judge(self, recording: Recording) -> Judge:
        return ByMedian(self, recording)


class ByMedian:
    """Optuna's rule: a trial's best value so far against the rung's values of trials that have gone all the way."""

    def __init__(self, by: MedianRule, recording: Recording) -> None:
        objective, rungs = ObjectiveConfig(), range(1, recording.n_tasks)
        self.by = by
        self.values = {t: np.array([intermediate(m[: t + 1], objective)[0] for m in recording.matrices]) for t in rungs}
        self.finished: list[int] = []

    def loses(self, trial: int, rung: int) -> bool:
        if len(self.finished) < self.by.startup:
            return False
        best = max(self.values[t][trial] for t in range(1, rung + 1))
        return bool(best < np.percentile(self.values[rung][self.finished], 100 - self.by.keeps))

    def finish(self, trial: int) -> None:
        self.finished.append(trial)


def replay(recording: Recording, order: Sequence[int], judge: Judge) -> NDArray[np.int64]:
    """How many tasks each trial is trained on, (n_trials,)."""
    n_tasks = recording.n_tasks
    done = np.full(len(recording.matrices), n_tasks)
    for begin in range(0, len(order), recording.at_once):
        going = list(order[begin : begin + recording.at_once])
        for rung in range(1, n_tasks - 1):
            lost = [trial for trial in going if judge.loses(trial, rung)]
            done[lost] = rung + 1
            going = [trial for trial in going if trial not in lost]
        for trial in going:
            judge.finish(trial)
    return done


def hypervolume(points: Floats) -> float:
    """Of stability and plasticity above `REFERENCE`; no points have none.

    >>> round(hypervolume(np.array([[0.9, 0.6], [0.7, 0.7], [0.6, 0.6]])), 12)
    0.06
    """
    return float(moocore.hypervolume(points, ref=REFERENCE, maximise=True)) if len(points) else 0.0


def growth(points: Floats, done: NDArray[np.int64], n_tasks: int, order: Sequence[int], budgets: Floats) -> Floats:
    """The hypervolume of what has gone all the way once so many tasks were trained, for each of `budgets`.

    >>> points, budgets = np.array([[0.6, 0.6], [0.7, 0.9], [0.9, 0.7]]), np.array([3.0, 4.0, 9.0, 10.0])
    >>> growth(points, np.array([4, 2, 4]), 4, [0, 1, 2], budgets).round(12).tolist()
    [0.0, 0.01, 0.01, 0.08]
    >>> growth(points, np.full(3, 4), 4, [1, 2, 0], budgets).round(12).tolist()
    [0.0, 0.08, 0.12, 0.12]
    """
    spent, whole = np.cumsum(done[order]), done[order] == n_tasks
    counts = np.searchsorted(spent, budgets, side="right")
    arrived = [np.asarray(order)[:count][whole[:count]] for count in counts]
    return np.array([hypervolume(points[trials]) for trials in arrived])


def compute_for_equal(target: float, curve: Floats, budgets: Floats) -> float | None:
    """The budget at which the rising `curve` comes to `target`, linear in between; None if it never does.

    >>> compute_for_equal(2.5, np.array([0.0, 2.0, 3.0]), np.array([0.0, 10.0, 20.0]))
    15.0
    """
    reached = np.flatnonzero(curve >= target)
    if not len(reached):
        return None
    at = int(reached[0])
    if at == 0:
        return float(budgets[0])
    share = (target - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(budgets[at - 1] + share * (budgets[at] - budgets[at - 1]))


def agreement(recording: Recording, rung: int) -> float:
    """Kendall's tau-b between the ranks after task `rung` and those at the end.

    >>> recording = Recording(np.random.default_rng(0).random((30, 4, 4)), (100,) * 4, at_once=1)
    >>> round(agreement(recording, 3), 12), agreement(recording, 1) < 0.9
    (1.0, True)
    """
    early = np.array([intermediate(matrix[: rung + 1], PARETO) for matrix in recording.matrices])
    ranks = [moocore.pareto_rank(points, maximise=True) for points in (early, recording.points)]
    return float(kendalltau(*ranks).statistic)


@dataclass(frozen=True)
class Replayed:
    """Means over recordings and orders: shares of trials stopped, of training saved, of hypervolume and of front lost;
    the training that comes to the same hypervolume as none stopped at each of `SHARES` (None: never), as a ratio."""

    stopped: float
    saved: float
    volume_lost: float
    front_lost: float
    equal: tuple[float | None, ...]

    def cells(self) -> list[str]:
        shares = [f"{100 * share:.{d}f} %" for share, d in zip(self._shares(), (0, 1, 2, 1), strict=True)]
        return [*shares, *("never" if part is None else f"{part:.2f}" for part in self.equal)]

    def _shares(self) -> tuple[float, ...]:
        return (self.stopped, self.saved, self.volume_lost, self.front_lost)


def replayed(recordings: Sequence[Recording], rule: RankRule, n_orders: int) -> Replayed:
    """What `rule` does to the recordings, each in `n_orders` random orders, the same for every rule."""
    shares, curves, plain, grid = [], [], [], np.linspace(0.02, 1.0, 50)
    for number, recording in enumerate(recordings):
        points, n_tasks, rng = recording.points, recording.n_tasks, np.random.default_rng(number)
        front, whole = moocore.is_nondominated(points, maximise=True), hypervolume(points)
        everything, budgets = np.full(len(points), n_tasks), grid * len(points) * n_tasks
        for _ in range(n_orders):
            order = rng.permutation(len(points)).tolist()
            done = replay(recording, order, rule.judge(recording))
            kept = done == n_tasks
            lost = (1 - hypervolume(points[kept]) / whole, np.mean(~kept[front]))
            shares.append((np.mean(~kept), 1 - done.mean() / n_tasks, *lost))
            curves.append(growth(points, done, n_tasks, order, budgets) / whole)
            plain.append(growth(points, everything, n_tasks, order, budgets) / whole)
    curve, without = np.mean(curves, axis=0), np.mean(plain, axis=0)
    stopped, saved, volume_lost, front_lost = (float(mean) for mean in np.mean(shares, axis=0))
    return Replayed(stopped, saved, volume_lost, front_lost, tuple(ratio(curve, without, grid, s) for s in SHARES))


def ratio(curve: Floats, without: Floats, grid: Floats, share: float) -> float | None:
    """The training by which `curve` comes to where `without` is after this share of it, by the training by which
    `without` itself first does; None if never.

    >>> grid, without = np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.1, 0.2, 0.3, 0.4])
    >>> curves = without, np.array([0.2, 0.3, 0.3, 0.3]), np.array([0.0, 0.1, 0.3, 0.3]), without / 4
    >>> [ratio(curve, without, grid, 0.5) for curve in curves]
    [1.0, 0.5, 1.25, None]
    """
    target = float(np.interp(share, grid, without))
    needed, plain = compute_for_equal(target, curve, grid), compute_for_equal(target, without, grid)
    return None if needed is None or plain is None else needed / plain


def mixed_replayed(recordings: Sequence[Recording], rule: MedianRule, n_orders: int) -> list[str]:
    """Trials stopped, training saved, how often the best trial is kept, and what is lost on average in its value."""
    found = []
    for number, recording in enumerate(recordings):
        rng, judge = np.random.default_rng(number), rule.judge(recording)
        values: NDArray[np.float64] = judge.values[recording.n_tasks - 1]  # type: ignore[attr-defined]
        for _ in range(n_orders):
            done = replay(recording, rng.permutation(len(values)).tolist(), rule.judge(recording))
            kept = values[done == recording.n_tasks].max()
            shares = (np.mean(done < recording.n_tasks), 1 - done.mean() / recording.n_tasks, kept == values.max())
            found.append((*shares, values.max() - kept))
    stopped, saved, best, lost = np.mean(found, axis=0)
    return [f"{100 * stopped:.0f} %", f"{100 * saved:.1f} %", f"{100 * best:.0f} %", f"{lost:.4f}"]
