"""Intervals: of a difference that was asked for beforehand, of one that was chosen by its value, and of a front.

How often each covers what it is to cover is measured by `python -m benchmarks.coverage`: docs/uncertainty.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from analysis.noise import Floats, noise_of, tails
from analysis.true_means import true_means
from cfsweep.texts import score_text

LEVEL = 0.95
# Student's t of two seeds has intervals 13 standard errors wide on either side, and pooling hides what they hide.
LEAST_SEEDS = 3
DRAWS = 2000  # the error of a probability is then below 0.012, and that of an end of an interval well below its width
_AT_ONCE = 100

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    interval: Interval

    @property
    def text(self) -> str:
        """
        >>> Estimate(0.0123, (-0.002, 0.0266)).text
        '+0.0123, 95 % interval -0.0020 to +0.0266'
        """
        low, high = (score_text(end, sign="+") for end in self.interval)
        return f"{score_text(self.value, sign='+')}, 95 % interval {low} to {high}"


def paired(differences: Floats) -> Estimate | None:
    """The mean of paired `differences` (n_seeds,) and Student's interval of it; None with fewer than three seeds.

    It covers what it says where differences are Gaussian, and about that where they are not far from it. It is for two
    trials that were named beforehand: for the best of many see `corrected`. It is about more seeds on the same
    validation examples.

    >>> paired(np.array([0.01, 0.02, 0.03])).text  # 0.02 ± 4.303 · 0.01 / √3
    '+0.0200, 95 % interval -0.0048 to +0.0448'

    References:
        Student 1908, "The probable error of a mean", section IX (paired differences, as of sleep with two drugs).
    """
    n = len(differences)
    if n < LEAST_SEEDS:
        return None
    from scipy.special import stdtrit

    mean = float(differences.mean())
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * float(differences.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, (mean - half, mean + half))


def corrected_means(values: Floats) -> Floats | None:
    """The expected true means (n,) of n trials with scores `values` (n, n_seeds), to be shown beside the raw ones,
    of which the highest are too high (`analysis.true_means`); None with fewer than three seeds."""
    return None if values.shape[1] < LEAST_SEEDS else true_means(values[..., None]).means[:, 0]


@dataclass(frozen=True)
class Side:
    """One of two trials that are compared: the scores `values` (n, n_seeds) of the n trials among which it was chosen
    by its score, and its `place` among them. A trial that was named beforehand is the only one."""

    values: Floats
    place: int = 0


def corrected(first: Side, second: Side, one_study: bool = True, draws: int = DRAWS) -> Estimate | None:
    """How far the true mean of `second` lies above that of `first`, over the same seeds, where one of them or both were
    chosen among many; None with fewer than three seeds.

    The means of what was chosen are shrunk towards where those lie among which it was (`analysis.true_means`). How far
    the levels of both sides are known, in one study, the noise of all its trials together says. In two, each seed may
    move all trials of one more than those of the other, so that the differences between the sides' means say it, with
    Student's t of as few degrees of freedom as there are seeds.
    """
    n_seeds = first.values.shape[1]
    if n_seeds < LEAST_SEEDS:
        return None
    rng = np.random.default_rng(0)
    means, drawn = [], []
    for side in (first, second):
        posterior = true_means(side.values[..., None])
        means.append(float(posterior.means[side.place, 0]))
        drawn.append(posterior.draws(draws, rng)[:, side.place, 0])
    if one_study:
        variance, freedom = _of_levels(first, second)
    else:
        variance, freedom = float((second.values.mean(0) - first.values.mean(0)).var(ddof=1)) / n_seeds, n_seeds - 1
    errors = math.sqrt(variance) * rng.standard_normal(draws) * tails(freedom, (draws,), rng)
    return Estimate(means[1] - means[0], interval(drawn[1] - drawn[0] + errors))


def _of_levels(first: Side, second: Side) -> tuple[float, float]:
    """The variance of the difference between the means of all trials of either side, of one study, and its degrees of
    freedom."""
    # The default is mostly one of the trials among which the other side was chosen. Counted twice it would make the
    # noise of a few trials look a third smaller, and twice as well known.
    is_twice = (first.values[:, None] == second.values).all(-1)  # (n of first, n of second)
    noise = noise_of(np.concatenate([second.values, first.values[~is_twice.any(1)]])[..., None])
    by_trial = np.broadcast_to(noise.of_one[:, 0, 0], (noise.n_trials,))
    place = np.where(is_twice.any(1), is_twice.argmax(1), len(second.values) - 1 + (~is_twice.any(1)).cumsum())
    sides = by_trial[place], by_trial[: len(second.values)]
    return sum(float(own.mean()) / len(own) for own in sides) / noise.n_seeds, noise.freedom


@dataclass(frozen=True)
class OfFront:
    """What seeds leave open of a front of n trials: `front_share` (n,), the corrected `hypervolume` with its interval,
    and how likely it is that noise hides what differs between trials (`alike`)."""

    front_share: Floats
    hypervolume: Estimate
    alike: float


def of_front(
    values: Floats,
    maximise: Sequence[bool],
    worst: Sequence[float],
    bounds: tuple[Floats, Floats],
    draws: int = DRAWS,
) -> OfFront | None:
    """The uncertainty of a front from the trials' objectives `values` (n, n_seeds, m), costs normalised, with the
    volume above the point `worst`; each objective is between `bounds` (m,) and (m,). None with fewer than three seeds.

    `front_share` is the share of draws of all true means (`analysis.true_means`) in which a trial is dominated by none.

    The volume under noisy means is too large, as each objective's best are those with luck. How much larger is
    simulated: noise is added to the shrunk means, and what the volume gains, and between what it varies, is taken off
    the raw volume (the basic bootstrap interval, parametric, about shrunk means).

    References:
        Davison & Hinkley 1997, "Bootstrap methods and their application", eq. 5.6 (the basic interval),
        section 2.2 (simulation from a fitted model).
    """
    if values.shape[1] < LEAST_SEEDS:
        return None
    rng, up = np.random.default_rng(0), list(maximise)
    posterior = true_means(values)

    def volume(points: Floats) -> float:
        return float(moocore.hypervolume(points.clip(*bounds), ref=list(worst), maximise=up))

    on_front, gains = np.zeros(len(values)), np.empty(draws)
    centre = volume(posterior.means)
    for start in range(0, draws, _AT_ONCE):
        now = min(_AT_ONCE, draws - start)
        for points in posterior.draws(now, rng):
            # Trials without any noise that are equal must stay equal: rounded, as sums go in different orders.
            on_front += moocore.is_nondominated(np.round(points, 12), maximise=up, keep_weakly=True)
        noise = posterior.noise.contrasts(now, rng) + posterior.noise.levels(now, rng)[:, None]
        gains[start : start + now] = [volume(posterior.means + errors) - centre for errors in noise]
    raw, most = volume(values.mean(1)), float(np.abs(np.where(up, bounds[1], bounds[0]) - worst).prod())
    most = math.inf if math.isnan(most) else most
    low, high = interval(gains)
    ends = [min(max(raw - gain, 0.0), most) for gain in (high, float(np.median(gains)), low)]
    estimate = Estimate(ends[1], (ends[0], ends[2]))
    return OfFront(on_front / draws, estimate, posterior.alike)


def interval(draws: Floats) -> Interval:
    """What the middle 95 % of `draws` (n,) lie between.

    >>> [round(end, 9) for end in interval(np.arange(41.0))]
    [1.0, 39.0]
    """
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
