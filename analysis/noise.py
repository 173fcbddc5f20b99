"""How much the scores of a trial vary from seed to seed: what all trials share in a seed, and the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_FOR_A_LINE = 8  # trials
REACH = 1.5  # deviations between trials up to which the noise follows the line; beyond, it stays
ROUNDING = 1e-12  # of the largest score: what varies by no more does not vary
MANY = 200.0  # degrees of freedom from which a Student's t is a Gaussian for every purpose here


@dataclass(frozen=True)
class Noise:
    """What `n_seeds` scores of each of n trials vary by, in m scores.

    `residuals` (n, n_seeds, m) are what is left of the scores without the trials' means and what all trials share.
    `of_one` (n, m, m), or (1, m, m) where it is the same for all, is the covariance of a trial's scores over seeds
    beside what all trials share; it is known as well as from `freedom` degrees of freedom. `shared` (m, m) is the
    covariance over seeds of the mean of all trials, with n_seeds - 1 degrees of freedom.
    """

    n_trials: int
    n_seeds: int
    residuals: Floats
    of_one: Floats
    freedom: float
    shared: Floats

    @property
    def of_contrasts(self) -> Floats:
        """The covariance (n or 1, m, m) of the difference between a trial's mean over seeds and that of all trials."""
        return self.of_one * (1 - 1 / self.n_trials) / self.n_seeds

    def contrasts(self, n_draws: int, rng: np.random.Generator) -> Floats:
        """Errors (n_draws, n, m) of the trials' means, beside that of their level: the seeds' own residuals with random
        weights, so that what similar trials share stays shared."""
        weights = rng.standard_normal((n_draws, self.n_seeds)) / math.sqrt(self.n_seeds * (self.n_seeds - 1))
        weights = weights * tails((self.n_trials - 1) * (self.n_seeds - 1) or math.inf, (n_draws, 1), rng)
        found: Floats = np.einsum("ds,nsm->dnm", weights, self.residuals)
        return found

    def levels(self, n_draws: int, rng: np.random.Generator) -> Floats:
        """Errors (n_draws, m) of the mean of all trials."""
        normal = rng.standard_normal((n_draws, self.shared.shape[0])) @ root(self.shared / self.n_seeds).T
        found: Floats = normal * tails(self.n_seeds - 1, (n_draws, 1), rng)
        return found


def noise_of(values: Floats) -> Noise:
    """The noise of the scores `values` (n, n_seeds, m) of n trials over the same seeds, two at least.

    A score is taken for the trial's mean + what all trials share in the seed + the rest, whose covariance is estimated
    from all trials together: from three seeds alone a trial's own would be known no better than by a factor of 6. Where
    it goes with the mean, it follows the line; where the trials' own estimates still differ by more than chance, each
    trial has its own, drawn towards the common one.

    >>> noise = noise_of(np.array([[[1.0], [3.0]], [[2.0], [2.0]]]))
    >>> noise.of_one.tolist(), noise.shared.tolist()  # the rest is -0.5, 0.5 and 0.5, -0.5; the seeds' means 1.5, 2.5
    ([[[1.0]]], [[0.5]])

    References:
        Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression", section 3 (the
        moderated variance) and 6.2 (how far variances differ by more than chance).
        Law et al. 2014, "voom: precision weights unlock linear model analysis tools for RNA-seq read counts" (variances
        drawn towards a curve over the means; here a straight line in their logarithms).
    """
    n, n_seeds, m = values.shape
    by_seed = values.mean(0)
    apart = by_seed - by_seed.mean(0)
    shared = apart.T @ apart / (n_seeds - 1)
    if n == 1:
        return Noise(1, n_seeds, np.zeros_like(values), np.zeros((1, m, m)), math.inf, shared)
    rest = values - values.mean(1, keepdims=True) - apart
    # A cost in bytes has no noise. What rounding leaves of it differs between trials by factors: that would count as
    # noise that differs, in all scores.
    rest[..., np.abs(rest).max((0, 1)) <= ROUNDING * np.abs(values).max((0, 1))] = 0.0
    own = np.einsum("nsi,nsj->nij", rest, rest) * n / (n - 1) / (n_seeds - 1)
    trend = _trend(np.einsum("nii->ni", own), values.mean(1))
    both = trend[:, :, None] * trend[:, None, :]
    own = own / both
    common = own.mean(0)
    prior = _prior_freedom(np.einsum("nii->ni", own), n_seeds - 1)
    if math.isinf(prior):
        of_one = common * (both if (trend != 1).any() else 1.0)
        return Noise(n, n_seeds, rest, of_one.reshape(-1, m, m), float((n - 1) * (n_seeds - 1)), shared)
    # The mean of a scaled inverse chi-square is its scale times prior / (prior - 2): so it is the common one.
    scale = max(prior - 2, 1.0) / prior
    freedom = prior + n_seeds - 1
    return Noise(n, n_seeds, rest, both * (prior * scale * common + (n_seeds - 1) * own) / freedom, freedom, shared)


def _trend(variances: Floats, means: Floats) -> Floats:
    """How the deviation over seeds goes with the `means` (n, m), as factors (n, m): accuracies near 1 vary less. A line
    through the logarithms of the `variances` (n, m), or 1 where its slope is no larger than twice its error."""
    factors = np.ones(means.shape)
    for j, (variance, mean) in enumerate(zip(variances.T, means.T, strict=True)):
        there = variance > 0
        apart = (mean - mean.mean()).clip(-REACH * mean.std(), REACH * mean.std())
        size = float(np.square(apart[there] - apart[there].mean()).sum()) if there.sum() >= LEAST_FOR_A_LINE else 0.0
        if size <= 0:
            continue
        x, y = apart[there] - apart[there].mean(), np.log(variance[there])
        slope = float(x @ y) / size
        left = y - y.mean() - slope * x
        if abs(slope) > 2 * math.sqrt(float(left @ left) / (len(y) - 2) / size):
            factors[:, j] = np.exp(slope * apart / 2)
    return factors


def _prior_freedom(variances: Floats, freedom: int) -> float:
    """As from how many degrees of freedom the common variance is known for a single trial, given the trials' own
    `variances` (n, m); infinite where they differ by no more than chance."""
    from scipy.special import polygamma  # takes a quarter of a second to import

    by_chance = float(polygamma(1, freedom / 2))  # the variance of the logarithm of a chi-square variable
    beyond = []
    for column in variances.T:
        logs = np.log(column[column > 0])
        if len(logs) < 4:
            continue
        error = math.sqrt((float(polygamma(3, freedom / 2)) + 2 * by_chance**2) / len(logs))
        excess = float(logs.var(ddof=1)) - by_chance
        beyond.append(excess if excess > 2 * error else 0.0)
    excess = float(np.mean(beyond)) if beyond else 0.0
    return math.inf if excess <= 0 else 2 * _inverse_trigamma(excess)


def _inverse_trigamma(y: float) -> float:
    """The x > 0 at which trigamma(x) = y, by Newton's steps on 1/trigamma (Smyth 2004, appendix).

    >>> round(_inverse_trigamma(np.pi**2 / 6), 9)
    1.0
    """
    from scipy.special import polygamma

    x = 0.5 + 1 / y
    for _ in range(50):
        of_x = float(polygamma(1, x))
        step = of_x * (1 - of_x / y) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def tails(freedom: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Factors that make Student's t numbers of so many degrees of `freedom` of normal ones."""
    if freedom > MANY:
        return np.ones(shape)
    found: Floats = np.sqrt(freedom / rng.chisquare(freedom, shape))
    return found


def root(covariances: Floats) -> Floats:
    """A matrix R (..., m, m) with R Rᵀ = the covariance, for each of `covariances` (..., m, m).

    >>> root(np.array([[4.0]])).tolist()
    [[2.0]]
    """
    # Of correlations: the eigenvalues of covariances would give what has no noise some, the square root of a rounding.
    size = np.sqrt(np.einsum("...ii->...i", covariances).clip(min=0))
    unit = np.where(size > 0, size, 1.0)
    values, directions = np.linalg.eigh(covariances / unit[..., :, None] / unit[..., None, :])
    found: Floats = size[..., None] * directions * np.sqrt(values.clip(min=0))[..., None, :]
    return found
