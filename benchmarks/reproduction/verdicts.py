"""What may be said of a measured number beside a published one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.uncertainty import LEAST_SEEDS, Estimate, paired
from benchmarks.reproduction.model import Claim, Why

NIL = 1.0  # points: a smaller published gap to the row without a remedy is none
REPRODUCED = "reproduced"
BASELINE = "baseline agrees"
FLOOR = "floor"
INERT = "inert"
UNCLEAR = "too few seeds to tell"
BOUND = "bound holds"
EXPLAINED = "differs, explained"
UNEXPLAINED = "differs, not explained"
MISSING = "not measured yet"
NO_CLAIM = "no claim"
KINDS = (
    REPRODUCED,
    BASELINE,
    FLOOR,
    INERT,
    UNCLEAR,
    BOUND,
    EXPLAINED,
    UNEXPLAINED,
    MISSING,
)  # in the order of the tally
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Verdict:
    """One of `KINDS`, or that there is no claim, and what is to be said beside it."""

    kind: str
    beside: str = ""

    @property
    def text(self) -> str:
        """
        >>> Verdict("inert").text, Verdict("differs, explained", "less data").text
        ('inert', 'differs, explained: less data')
        """
        return f"{self.kind}: {self.beside}" if self.beside else self.kind


@dataclass(frozen=True)
class Naive:
    """The row without a remedy that another is held against: what was claimed of it, and its value for each seed."""

    claim: Claim
    values: BySeed


def differences(own: BySeed, other: BySeed) -> Estimate | None:
    """The mean over the seeds that both have of `own` less `other`, and Student's interval; None where these are
    fewer than three.

    >>> differences({0: 2.0, 1: 3.0, 2: 4.0, 3: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    Estimate(value=1.0, interval=(1.0, 1.0))
    """
    return paired(np.array([own[seed] - other[seed] for seed in sorted(own) if seed in other]))


def judge(claim: Claim | None, own: BySeed, naive: Naive | None) -> Verdict:
    """What follows from the numbers alone, `own` being the value for each seed, in percent; a number that differs is
    not explained yet. `naive` is None in the row without a remedy.

    A claim is reproduced where the mean agrees with it and the method lies apart from the row without a remedy, by the
    interval of the paired differences, on the side on which it was published. Where no gap was published, an
    agreeing mean shows nothing of the method: `floor`. Where one was, and the interval holds none and not that one, the
    method is `inert`, however near the mean comes; where it holds both, there are too few seeds. A published gap that
    the interval of a reproduced claim leaves out is said beside it. What is claimed as a bound, or exactly, holds or
    not, whatever the row without a remedy.

    >>> naive = Naive(Claim(60.0), {0: 59.0, 1: 60.0, 2: 61.0})
    >>> judge(Claim(64.0), {0: 63.0, 1: 64.0, 2: 65.0}, naive).kind
    'reproduced'
    >>> judge(Claim(62.9), {0: 59.5, 1: 60.0, 2: 60.5}, naive).kind  # near, but no better than nothing
    'inert'
    >>> judge(Claim(62.0), {0: 58.0, 1: 60.0, 2: 64.0}, naive).kind
    'too few seeds to tell'
    >>> judge(Claim(64.0), {0: 61.0, 1: 62.1, 2: 62.9}, naive).text
    'reproduced: the published gap is +4.00'
    >>> judge(Claim(60.5), {0: 59.0, 1: 60.0, 2: 61.0}, naive).kind
    'floor'
    """
    if claim is None:
        return Verdict(NO_CLAIM)
    agrees = claim.holds(float(np.mean(list(own.values()))))
    if claim.sense != "about":
        return Verdict(BOUND if agrees else UNEXPLAINED)
    if naive is None:
        return Verdict(BASELINE if agrees else UNEXPLAINED)
    measured = differences(own, naive.values)
    if measured is None:
        return Verdict(MISSING, f"fewer than {LEAST_SEEDS} seeds beside the row without a remedy")
    gap, mean, (low, high) = claim.value - naive.claim.value, measured.value, measured.interval
    if round(abs(gap), 9) < NIL:
        return Verdict(FLOOR if agrees and abs(mean) < NIL else UNEXPLAINED)
    if low <= 0 <= high:
        return Verdict(UNCLEAR if low <= gap <= high else INERT)
    if not agrees or (mean > 0) != (gap > 0):
        return Verdict(UNEXPLAINED)
    return Verdict(REPRODUCED, "" if low <= gap <= high else f"the published gap is {gap:+.2f}")


def explains(why: Why, claim: Claim, own: BySeed, seen: Mapping[str, BySeed], naive: Naive | None = None) -> bool:
    """Whether what was measured bears the reason out; `seen` are the values of those of its rows that are measured,
    `naive` is the row without a remedy.

    >>> why = Why("fewer images", ("table/half",), "farther")
    >>> own = {0: 80.0, 1: 81.0, 2: 82.0}
    >>> explains(why, Claim(90.0), own, {"table/half": {0: 70.0, 1: 72.0, 2: 71.0}})
    True
    >>> explains(why, Claim(90.0), own, {"table/half": {0: 85.0, 1: 84.0, 2: 86.0}})
    False
    >>> explains(why, Claim(90.0), own, {})
    False

    A strength of the source that does not do here what it did there does not show that a better one was found, however
    near it comes.

    >>> why = Why("a better strength", ("table/published",), "surpassed")
    >>> published = {"table/published": {0: 62.0, 1: 60.0, 2: 61.0}}
    >>> explains(why, Claim(62.0), own, published, Naive(Claim(55.0), {0: 55.0, 1: 53.0, 2: 54.0}))
    True
    >>> explains(why, Claim(62.0), own, published, Naive(Claim(55.0), {0: 61.0, 1: 61.0, 2: 60.0}))
    False
    """
    return all(key in seen and _shown(why, claim, own, seen[key], naive) for key in why.see)


def _does_less(claim: Claim, other: BySeed, naive: Naive | None) -> bool:
    """Whether the interval of the gap to the row without a remedy lies nearer to 0 than the published gap."""
    measured = None if naive is None else differences(other, naive.values)
    if naive is None or measured is None:
        return False
    gap = claim.value - naive.claim.value
    return bool(max(np.sign(gap) * end for end in measured.interval) < abs(gap))


def _shown(why: Why, claim: Claim, own: BySeed, other: BySeed, naive: Naive | None) -> bool:
    if why.shows == "agrees":
        return claim.holds(float(np.mean(list(other.values()))))
    apart = differences(other, own)
    if why.shows == "surpassed":
        bears = judge(claim, other, naive).kind in (REPRODUCED, BASELINE, BOUND) and not _does_less(claim, other, naive)
        return bears and apart is not None and apart.interval[1] < 0
    outside = float(np.mean(list(own.values()))) - claim.value
    return apart is not None and (apart.interval[0] > 0 if outside > 0 else apart.interval[1] < 0)
