"""Studies of known truth: where the true means of trials lie, and what seeds, splits and finite validation sets add.

The scores are stability, plasticity and average accuracy, the last being the mean of the two others. Trial 0 is the
default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.noise import Floats

SD = 0.015  # of a trial's own noise over seeds, in stability and in plasticity; of what all share in a seed, as much
SD_OF_AVERAGE = SD / math.sqrt(2)  # of a trial's own noise in average accuracy
REACH = 0.05  # how far apart true means are whose noise is still alike, where similar trials share it
SPLIT_SHARED, SPLIT_OWN = SD, SD / 3  # of the error of a split: in all trials alike, and in each


class Study(NamedTuple):
    """True means (n, 3), scores (n, n_seeds, 3), and the place of the default among the n trials."""

    truth: Floats
    values: Floats
    default: int = 0


def made_up(population: str, noise: str, n_trials: int, n_seeds: int, rng: np.random.Generator) -> Study:
    """A study of a population in `POPULATIONS` with a noise in `NOISES`."""
    means = POPULATIONS[population](n_trials, rng)
    values = NOISES[noise](means, n_seeds, rng)
    return Study(with_average(means), with_average(values))


def with_average(scores: Floats) -> Floats:
    """The scores (..., 2) and their mean, (..., 3).

    >>> with_average(np.array([0.5, 1.0])).tolist()
    [0.5, 1.0, 0.75]
    """
    return np.concatenate([scores, scores.mean(-1, keepdims=True)], axis=-1)


def _along(angle: Floats, radius: Floats | float = 1.0) -> Floats:
    """Points (n, 2) between (0.5, 0.95) and (0.95, 0.5): at a quarter circle where the `radius` is 1."""
    return 0.5 + 0.45 * np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def _angles(n: int, rng: np.random.Generator) -> Floats:
    return rng.random(n) * np.pi / 2


def curve(n: int, rng: np.random.Generator) -> Floats:
    """On a trade-off curve: every trial is on the front."""
    return _along(_angles(n, rng))


def cloud(n: int, rng: np.random.Generator) -> Floats:
    """Under such a curve, most of them near it: the distance is |N(0, 0.1)| of the radius."""
    return _along(_angles(n, rng), 1 - np.abs(rng.normal(0, 0.1, n)))


def gaussian(n: int, rng: np.random.Generator) -> Floats:
    """Gaussian, sd 0.03 (2 sds of the noise), with a correlation of -0.5."""
    return rng.multivariate_normal([0.7, 0.8], 0.03**2 * np.array([[1, -0.5], [-0.5, 1]]), n)


def tail(n: int, rng: np.random.Generator) -> Floats:
    """70 % within a few hundredths of a blunt trade-off curve, the others anywhere below."""
    angle = _angles(n, rng)
    radius = np.where(rng.random(n) < 0.7, 1 - np.abs(rng.normal(0, 0.02, n)), rng.random(n))
    return 0.5 + 0.4 * np.stack([radius * np.sqrt(np.sin(angle)), radius * np.sqrt(np.cos(angle))], axis=1)


def equal(n: int, rng: np.random.Generator) -> Floats:
    """All the same."""
    return np.tile([[0.8, 0.85]], (n, 1))


def close(n: int, rng: np.random.Generator) -> Floats:
    """Gaussian, with a fifth of the noise's sd."""
    return rng.multivariate_normal([0.7, 0.8], (SD / 5) ** 2 * np.array([[1, -0.5], [-0.5, 1]]), n)


def as_good(n: int, rng: np.random.Generator) -> Floats:
    """60 % as good as the default, which is one of them; the others worse by 0.05 to 0.6."""
    means = np.tile([[0.85, 0.85]], (n, 1))
    n_worse = n - round(0.6 * n)
    means[n - n_worse :] -= rng.uniform(0.05, 0.6, n_worse)[:, None]
    return means


def one_better(by: float) -> Callable[[int, np.random.Generator], Floats]:
    """All the same but for one, which is better by so many sds of the noise of average accuracy."""

    def means(n: int, rng: np.random.Generator) -> Floats:
        found = np.tile([[0.8, 0.8]], (n, 1))
        found[-1] += by * SD_OF_AVERAGE
        return found

    return means


POPULATIONS: dict[str, Callable[[int, np.random.Generator], Floats]] = {
    "on a curve": curve,
    "cloud under a curve": cloud,
    "Gaussian cloud": gaussian,
    "good, with a bad tail": tail,
    "equal": equal,
    "closer than the noise": close,
    "60 % equal, 40 % worse": as_good,
    "one better by 1 sd": one_better(1),
    "one better by 2 sds": one_better(2),
    "one better by 3 sds": one_better(3),
}


def plain(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """Scores (n, n_seeds, 2): Gaussian noise of each trial, and as much that all trials share in a seed."""
    n, m = means.shape
    return means[:, None] + SD * (rng.standard_normal((n, n_seeds, m)) + rng.standard_normal((1, n_seeds, m)))


def worse_noisier(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """A trial's own noise goes with 1 - its mean; at 0.8 it is that of `plain`."""
    n, m = means.shape
    own = rng.standard_normal((n, n_seeds, m)) * ((1 - means) / 0.2)[:, None]
    return means[:, None] + SD * (own + rng.standard_normal((1, n_seeds, m)))


def heavy(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """Student's t with 5 degrees of freedom, of the sd of `plain`."""
    n, m = means.shape
    drawn = rng.standard_t(5, (n, n_seeds, m)) + rng.standard_t(5, (1, n_seeds, m))
    return means[:, None] + SD / math.sqrt(5 / 3) * drawn


def similar_alike(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """A trial's noise is correlated with that of others by exp(-distance² / (2 REACH²))."""
    n, m = means.shape
    distance = np.square(means[:, None] - means[None]).sum(-1)
    root = np.linalg.cholesky(np.exp(-distance / (2 * REACH**2)) + 1e-8 * np.eye(n))
    drawn = np.einsum("ij,jsm->ism", root, rng.standard_normal((n, n_seeds, m)))
    found: Floats = means[:, None] + SD * (drawn + rng.standard_normal((1, n_seeds, m)))
    return found


def _of_split(means: Floats, n_splits: int, rng: np.random.Generator) -> Floats:
    n, m = means.shape
    shared, own = rng.standard_normal((1, n_splits, m)), rng.standard_normal((n, n_splits, m))
    return SPLIT_SHARED * shared + SPLIT_OWN * own


def own_split(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """Each seed has a validation split of its own, with an error of its own."""
    return plain(means, n_seeds, rng) + _of_split(means, n_seeds, rng)


def same_split(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
    """All seeds have the same validation split: its error is in every one of them, and no seed shows it."""
    return plain(means, n_seeds, rng) + _of_split(means, 1, rng)


def examples(n_examples: int) -> Callable[[Floats, int, np.random.Generator], Floats]:
    """Each score is a share of so many examples that are right (binomial), others for each run and score."""

    def scores(means: Floats, n_seeds: int, rng: np.random.Generator) -> Floats:
        found: Floats = rng.binomial(n_examples, plain(means, n_seeds, rng).clip(0, 1)) / n_examples
        return found

    return scores


NOISES: dict[str, Callable[[Floats, int, np.random.Generator], Floats]] = {
    "plain": plain,
    "worse trials noisier": worse_noisier,
    "heavy tails (t5)": heavy,
    "similar trials alike": similar_alike,
    "each seed its own split": own_split,
    "all seeds the same split": same_split,
    "200 examples": examples(200),
    "2,000 examples": examples(2000),
}
