"""From what was measured to what is said: trials per hour, ratios, agreement. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import Record
from benchmarks.peers.processes import Usage
from cfsweep.metrics import average_accuracy, backward_transfer

METRICS = {"average accuracy": average_accuracy, "backward transfer": backward_transfer}
BEYOND = 3.0  # standard errors


@dataclass(frozen=True)
class Swept:
    """What a sweep says of itself: clock times of its first trial's begin and its last one's end, seconds of training
    (of the references apart), and how many trials were stopped early."""

    trials: int
    began: float
    ended: float
    train_s: float
    fisher_s: float = 0.0
    references_s: float = 0.0
    stopped: int = 0

    @staticmethod
    def of(records: Sequence[Record]) -> Swept:
        return Swept(
            len(records),
            min(record.began for record in records),
            max(record.ended for record in records),
            sum(record.train_s for record in records),
            sum(record.fisher_s for record in records),
        )


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

    def idle_frac(self, workers: int) -> float:
        """The share of the workers' processors that did nothing between the first trial and the last."""
        return 1 - self.cpu_s / (workers * self.trial_s)


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
    error: float | None  # the standard error of the difference; one seed has none

    @property
    def agrees(self) -> bool | None:
        """Whether the two differ no more than seeds do; None if nobody can say."""
        return None if self.error is None else abs(self.mean - self.ours) <= BEYOND * self.error


def agreement(peers: Mapping[str, Sequence[Record]], ours: Sequence[Record]) -> list[Agreement]:
    """Each metric of each peer at each λ that cfsweep trained too.

    The variance over seeds is pooled over the λ of one peer and metric: that of a few seeds alone would be a guess.
    """
    found = []
    for peer, records in peers.items():
        for name, metric in METRICS.items():
            own = _by_lambda(ours, metric)
            theirs = {strength: values for strength, values in _by_lambda(records, metric).items() if strength in own}
            error = _standard_error(list(theirs.values()), [own[strength] for strength in theirs])
            found += [
                Agreement(peer, strength, name, statistics.mean(values), statistics.mean(own[strength]), error)
                for strength, values in theirs.items()
            ]
    return found


def _standard_error(*sides: Sequence[Sequence[float]]) -> float | None:
    """Of the difference between two means, given the values of each side in groups of equal size.

    >>> _standard_error([[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [3.0, 3.0]])
    1.0
    """
    if any(len(group) < 2 for side in sides for group in side):
        return None
    return math.sqrt(sum(statistics.mean(map(statistics.variance, side)) / len(side[0]) for side in sides))


def _by_lambda(records: Sequence[Record], metric: Callable[[NDArray[np.float64]], float]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for record in records:
        found.setdefault(record.ewc_lambda, []).append(metric(np.asarray(record.test)))
    return found
