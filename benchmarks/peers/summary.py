"""From what was measured to what is said: trials per hour, ratios, agreement. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from benchmarks.peers.job import Record
from benchmarks.peers.processes import Usage
from benchmarks.peers.reached import Found, bests, reached
from cfsweep.metrics import average_score, backward_transfer, plasticity, stability

METRICS = {"average accuracy": average_score, "backward transfer": backward_transfer}
SURE = 0.01  # a difference that chance makes less often than this is one


@dataclass(frozen=True)
class Swept:
    """What a sweep says of itself: clock times of its first trial's begin and its last one's end, seconds of training
    (of the references apart), how many trials were stopped early, and what the others came to."""

    trials: int
    began: float
    ended: float
    train_s: float
    fisher_s: float = 0.0
    references_s: float = 0.0
    stopped: int = 0
    found: tuple[Found, ...] = ()

    @staticmethod
    def of(records: Sequence[Record]) -> Swept:
        return Swept(
            len(records),
            min(record.began for record in records),
            max(record.ended for record in records),
            sum(record.train_s for record in records),
            sum(record.fisher_s for record in records),
            found=tuple(_found(record) for record in records),
        )


def _found(record: Record) -> Found:
    matrix = np.asarray(record.validation)
    return Found(record.ended, record.objective, stability(matrix), plasticity(matrix))


@dataclass(frozen=True)
class Measured:
    """One sweep of one peer: what it says, and what was seen of its processes."""

    swept: Swept
    usage: Usage

    @property
    def start_s(self) -> float:
        """From the command to the first trial."""
        return self.swept.began - self.usage.began

    @property
    def end_s(self) -> float:
        """From the last trial to the end of the command."""
        return self.usage.ended - self.swept.ended

    @property
    def trial_s(self) -> float:
        """Seconds of the sweep for each trial, start and end left out."""
        return (self.swept.ended - self.swept.began) / self.swept.trials

    @property
    def cpu_s(self) -> float:
        """Processor seconds for each trial, start and end left out."""
        return self.usage.cpu_between_s(self.swept.began, self.swept.ended) / self.swept.trials

    def per_hour(self, trials: int) -> float:
        """Trials per hour of a sweep of so many trials, from the command to its end."""
        return 3600 * trials / (self.start_s + trials * self.trial_s + self.end_s)

    def seconds_to(self, measure: str, target: float) -> float | None:
        """From the command to the trial with which `measure` is at least `target`; None if it never is."""
        at = reached(self.swept.found, measure, target)
        return None if at is None else at - self.usage.began

    def best(self, measure: str) -> float:
        """What the sweep has found in the end."""
        return bests(self.swept.found, measure)[-1][1]

    def idle_frac(self, workers: int) -> float:
        """The share of the workers' processors that did nothing between the first trial and the last."""
        return max(0.0, 1 - self.cpu_s / (workers * self.trial_s))


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most where there are several.

    >>> spread([3.0, 1.0, 2.0]), spread([4.0])
    ('2.0 (1.0–3.0)', '4.0')
    """
    middle = f"{statistics.median(values):.{digits}f}"
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else middle


def ratios(over: Sequence[Measured], under: Sequence[Measured], trials: int) -> list[float]:
    """Trials per hour of `over` for each of `under`, repeat by repeat: the two of a repeat ran close in time."""
    return [a.per_hour(trials) / b.per_hour(trials) for a, b in zip(over, under, strict=True)]


@dataclass(frozen=True)
class Agreement:
    """One metric of one peer at one λ, beside cfsweep's: means over seeds."""

    peer: str
    ewc_lambda: float
    metric: str
    mean: float
    ours: float
    chance: float | None  # of such a difference where there is none (Student's t); None for one seed

    @property
    def agrees(self) -> bool | None:
        """Whether the two differ no more than seeds do; None if nobody can say."""
        return None if self.chance is None else self.chance >= SURE


def agreement(peers: Mapping[str, Sequence[Record]], ours: Sequence[Record]) -> list[Agreement]:
    """Each metric of each peer at each λ that cfsweep trained too."""
    return [
        Agreement(
            peer,
            strength,
            name,
            statistics.mean(values),
            statistics.mean(own[strength]),
            _chance(values, own[strength]),
        )
        for peer, records in peers.items()
        for name, metric in METRICS.items()
        for own in [_by_lambda(ours, metric)]
        for strength, values in _by_lambda(records, metric).items()
        if strength in own
    ]


def _chance(values: Sequence[float], others: Sequence[float]) -> float | None:
    """
    >>> round(_chance([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]), 3), _chance([1.0, 1.0], [1.0, 1.0]), _chance([1.0], [2.0])
    (0.288, 1.0, None)
    """
    if min(len(values), len(others)) < 2:
        return None
    if statistics.pvariance([*values, *others]) == 0:
        return 1.0
    return float(ttest_ind(values, others).pvalue)


def _by_lambda(records: Sequence[Record], metric: Callable[[NDArray[np.float64]], float]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for record in records:
        found.setdefault(record.ewc_lambda, []).append(metric(np.asarray(record.validation)))
    return found
