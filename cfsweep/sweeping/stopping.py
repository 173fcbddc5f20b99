"""Which trials to stop between tasks, because they lose.

With one objective the asker's median rule decides. With several there is none. Then a trial loses when, among the
trials that came as far, its non-domination rank lies behind the median rank, and one of them beats it in every
objective by more than two standard errors. With a cost among the objectives nobody is stopped: what a run will have
cost is not known before its end, and a cheap trial may lead though others are more accurate.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import moocore
import numpy as np
from numpy.typing import NDArray

from cfsweep.config import ObjectiveConfig, StudyConfig
from cfsweep.metrics import UndefinedError, mixed, plasticity
from cfsweep.metrics.matrix import mean_known
from cfsweep.results.reader import read_table
from cfsweep.results.schema import DEFAULT_TRIAL
from cfsweep.sweeping.asker import Asker
from cfsweep.training.targets import Score

STARTUP_TRIALS = 8  # rungs with fewer trials stop nobody
MARGIN = 2.0  # standard errors by which a trial must be beaten
RUNG_TRIALS = 256  # kept of each rung, so that a decision costs the same however long the sweep is

Matrix = NDArray[np.float64]


class Stopper(Protocol):
    """Judges trials by their score matrix so far (tasks_done, n_tasks), the mean over their seeds."""

    def loses(self, number: int, rung: int, matrix: Matrix) -> bool:
        """Whether the trial loses, given its scores up to and after task `rung`, the last row."""

    def take_in(self, matrices: Iterable[tuple[int, Matrix]]) -> None:
        """Takes in trials, by number, that an earlier session has judged."""


def stopper_for(config: StudyConfig, n_examples: Sequence[int | None], score: Score, asker: Asker) -> Stopper | None:
    """The stopper for this study, given the target's `score` and the examples per task; None: nobody is stopped, as
    where it is not known how far chance moves the scores."""
    objective = config.objective
    if not config.stop_trials or objective.third is not None:
        return None
    if objective.name == "mixed":
        return MedianStopper(objective, asker)
    counts = [n for n in n_examples if n is not None]
    known = score.variance is not None and len(counts) == len(n_examples)
    return RankStopper(counts, score) if known else None


def intermediate(matrix: Matrix, objective: ObjectiveConfig) -> tuple[float, ...]:
    """The objective as far as it is known after the tasks of `matrix` (tasks_done >= 2, n_tasks), to be maximised.

    `mixed`: its mean so far. `pareto`: stability and plasticity over the tasks seen.

    Raises:
        UndefinedError: the score has no value yet on any task that counts.

    >>> intermediate(np.array([[0.9, 0.5], [0.7, 0.8]]), ObjectiveConfig(name="pareto"))
    (0.7, 0.8500000000000001)
    """
    last = len(matrix) - 1
    if objective.name == "mixed":
        return (mixed(matrix, objective.old_weight),)
    return (mean_known(matrix[last, :last]), plasticity(matrix))


def standard_errors(matrix: Matrix, n_examples: Sequence[int], score: Score) -> tuple[float, float]:
    """Of the intermediate stability and plasticity: how far chance in the choice of the examples moves them.

    The score tells its variance over `n_examples[i]` examples; tasks are independent. (Seeds see the same examples, and
    do not make them more; those of several splits see others, and then this is more than it is.)

    >>> from cfsweep.training.targets import target_of
    >>> accuracy = target_of("classification").scores[0]
    >>> errors = standard_errors(np.array([[0.9, 0.5], [0.8, 0.8]]), [100, 100], accuracy)
    >>> [round(error, 6) for error in errors]
    [0.04, 0.025]
    """
    assert score.variance is not None
    last = len(matrix) - 1
    variances = score.variance(matrix, np.asarray(n_examples, dtype=np.float64))
    old, new = variances[last, :last], np.diag(variances)
    return (float(np.sqrt(old.sum()) / last), float(np.sqrt(new.sum()) / (last + 1)))


class MedianStopper:
    """The median rule of the asker: a value under the median of the others' at this rung loses."""

    def __init__(self, objective: ObjectiveConfig, asker: Asker) -> None:
        self.objective, self.asker = objective, asker

    def loses(self, number: int, rung: int, matrix: Matrix) -> bool:
        try:
            (value,) = intermediate(matrix, self.objective)
        except UndefinedError:
            return False
        return self.asker.is_below_median(number, rung, value)

    def take_in(self, matrices: Iterable[tuple[int, Matrix]]) -> None:
        """Nothing: the asker's journal has the intermediate values."""


def is_clearly_beaten(value: tuple[float, ...], errors: tuple[float, ...], others: NDArray[np.float64]) -> bool:
    """Whether `value` lies behind the median rank of all, and one of `others` (n, 2) beats it by `MARGIN` `errors`.

    Ranks come from non-dominated sorting, all objectives maximised. A rank alone may hang on single examples, and does
    so where it matters: among the trials that will be the front. The median holds back where a sweep is so long that
    some trial is beaten by luck.

    References:
        Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", section III-A (sorting).
        Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2 (rungs, judged as trials
        come; there a fixed share goes on, here the better half does, and whoever is not clearly beaten).
        Schmucker et al. 2021, "Multi-objective Asynchronous Successive Halving", arXiv 2106.12639 (rungs ranked by
        non-dominated sorting).

    >>> others = np.array([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]])
    >>> is_clearly_beaten((0.85, 0.85), (0.01, 0.01), others), is_clearly_beaten((0.75, 0.75), (0.01, 0.01), others)
    (False, True)
    """
    if not (others > np.add(value, MARGIN * np.asarray(errors))).all(axis=1).any():
        return False
    ranks = moocore.pareto_rank(np.vstack([others, value]), maximise=True)
    return bool(ranks[-1] > np.median(ranks))


class RankStopper:
    """Judges by `is_clearly_beaten`, on each rung apart, against a uniform sample of the trials that came to it."""

    def __init__(self, n_examples: Sequence[int], score: Score) -> None:
        self.n_examples, self.score = n_examples, score
        self.rungs: dict[int, Rung] = {}

    def loses(self, number: int, rung: int, matrix: Matrix) -> bool:
        here, value = self.rungs.setdefault(rung, Rung()), intermediate(matrix, ObjectiveConfig(name="pareto"))
        others = here.others(number)
        here.add(number, value)
        errors = standard_errors(matrix, self.n_examples, self.score)
        return len(others) >= STARTUP_TRIALS and is_clearly_beaten(value, errors, others)

    def take_in(self, matrices: Iterable[tuple[int, Matrix]]) -> None:
        for number, matrix in matrices:
            for rung in range(1, min(len(matrix), len(self.n_examples) - 1)):
                value = intermediate(matrix[: rung + 1], ObjectiveConfig(name="pareto"))
                self.rungs.setdefault(rung, Rung()).add(number, value)


class Rung:
    """The values of at most `size` trials, those whose numbers have the smallest hashes: a uniform sample that depends
    on which trials came, never on their order, so that a resumed sweep has the one that it left.

    References:
        Cohen & Kaplan 2007, "Summarizing Data Using Bottom-k Sketches".
    """

    def __init__(self, size: int = RUNG_TRIALS) -> None:
        self.size = size
        self.values: dict[int, tuple[float, ...]] = {}
        self._largest_first: list[tuple[int, int]] = []

    def others(self, number: int) -> NDArray[np.float64]:
        """The values of all but this trial, (n, 2)."""
        return np.array([value for key, value in self.values.items() if key != number]).reshape(-1, 2)

    def add(self, number: int, value: tuple[float, ...]) -> None:
        if number not in self.values:
            heapq.heappush(self._largest_first, (-_hash(number), number))
        self.values[number] = value
        if len(self.values) > self.size:
            del self.values[heapq.heappop(self._largest_first)[1]]


def _hash(number: int) -> int:
    return int.from_bytes(blake2b(number.to_bytes(8), digest_size=8).digest())


def ended_matrices(root: Path, seeds: int, score: str) -> Iterator[tuple[int, Matrix]]:
    """The trials in `accuracy/` that were judged, and their matrices, the mean over the seeds (tasks_done, n_tasks).

    Those are all of which as many `seeds` have ended, but the default; the tasks are those that all its seeds did.
    """
    table = read_table(root, "accuracy")
    if not table.num_rows:
        return
    columns = table.select(["trial", "seed", "after_task", "eval_task", score])
    rows = np.stack([columns[name].to_numpy() for name in columns.column_names], axis=1)
    rows = rows[(rows[:, 0] > DEFAULT_TRIAL) & (rows[:, 2] >= 0)]
    rows = rows[np.lexsort(rows[:, 3::-1].T)]
    n_tasks = int(rows[:, 3].max(initial=-1)) + 1
    for mine in np.split(rows, np.flatnonzero(np.diff(rows[:, 0])) + 1):
        runs = np.split(mine, np.flatnonzero(np.diff(mine[:, 1])) + 1)
        if len(runs) >= seeds and len(mine):
            matrices = [run[:, 4].reshape(-1, n_tasks) for run in runs]
            done = min(len(matrix) for matrix in matrices)
            yield int(mine[0, 0]), np.mean([matrix[:done] for matrix in matrices], axis=0)
