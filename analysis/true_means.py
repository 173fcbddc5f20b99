"""What the trials' true means are likely to be, given the scores of a few seeds: shrunk towards where trials lie.

The highest of many noisy means is too high, and so is the volume under all of them. A mean that is shrunk towards where
the other trials say that means lie is not, whatever was chosen by it: to choose changes nothing in a distribution that
is given the data (Dawid 1994, "Selection paradoxes of Bayesian inference"; Efron 2011, "Tweedie's formula and selection
bias").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from analysis.noise import Floats, Noise, noise_of, root, tails

MOST_COMPONENTS = 4
TRIALS_PER_COMPONENT = 8  # fewer do not tell where a component of the mixture lies
ALIKE = (0.0, 0.1, 0.3, 1.0)  # variances of true means that noise hides, as shares of it
STEPS, CLOSE_ENOUGH = 200, 1e-5
LEAST_SPREAD = 0.02  # of a component as the fit begins, in variances of the noise: from 0 it could not grow
LEAST_BESIDE_ONE = 3  # trials of which it can be said that one lies apart from them
PSEUDO = 1.0  # trials that a component has beside its own, spread as the noise; without, it may shrink to a line
JITTER = 1e-10  # of the variance between trials: keeps what has no noise at all, such as a cost in bytes, invertible


@dataclass(frozen=True)
class Mixture:
    """Where true means lie: components with `shares` (k,), centres (k, m), covariances (k, m, m)."""

    shares: Floats
    centres: Floats
    covariances: Floats


@dataclass(frozen=True)
class TrueMeans:
    """The distribution of each trial's true mean, given the means over seeds, in m scores.

    Each is a mixture of k Gaussians: `shares` (n, k), `centres` (n, k, m), `covariances` (n or 1, k, m, m). `alike` in
    [0, 1] is how likely it is that they are so much alike that noise hides what differs between them.
    """

    noise: Noise
    shares: Floats
    centres: Floats
    covariances: Floats
    alike: float

    @cached_property
    def means(self) -> Floats:
        """The expected true means (n, m), what all trials share in a seed included."""
        found: Floats = np.einsum("nk,nkm->nm", self.shares, self.centres)
        return found

    def draws(self, n_draws: int, rng: np.random.Generator) -> Floats:
        """True means (n_draws, n, m) at random, but for the uncertainty of their level, which all trials share."""
        n, _, m = self.centres.shape
        which = (rng.random((n_draws, n, 1)) > self.shares.cumsum(1)).sum(-1).clip(max=self.shares.shape[1] - 1)
        roots = np.broadcast_to(root(self.covariances), (n, *self.covariances.shape[1:]))
        trial = np.arange(n)
        normal = rng.standard_normal((n_draws, n, m)) * tails(self.noise.freedom, (n_draws, n), rng)[..., None]
        found: Floats = self.centres[trial, which] + np.einsum("dnij,dnj->dni", roots[trial, which], normal)
        return found


def true_means(values: Floats) -> TrueMeans:
    """The distribution of the true means of n trials, from their scores `values` (n, n_seeds, m), at least two seeds.

    The model: a score is the trial's true mean + what all trials share in a seed + noise (`analysis.noise`); true means
    come from a mixture of up to four Gaussians, fitted by extreme deconvolution, or from one whose extent is none, or a
    share of the noise's, or are all the same but for one. Each of these counts with its weight by the Bayesian
    information criterion.

    >>> scores = np.array([[0.70, 0.72, 0.74], [0.71, 0.70, 0.75], [0.72, 0.73, 0.72], [0.70, 0.74, 0.75]])[..., None]
    >>> raw, shrunk = scores.mean((1, 2)), true_means(scores).means[:, 0]
    >>> bool(shrunk.max() < raw.max()), bool(shrunk.min() > raw.min())
    (True, True)

    References:
        Bovy, Hogg & Roweis 2011, "Extreme deconvolution" (the steps of EM, and the prior on covariances: here as wide
        as the noise, where theirs is w times the identity).
        Raftery 1995, "Bayesian model selection in social research" (weights from the BIC).
    """
    noise, means = noise_of(values), values.mean(1)
    unit = means.std(0)
    unit = np.where(unit > 0, unit, 1.0)
    scaled = means / unit
    spread = noise.of_contrasts / np.outer(unit, unit)
    fits = [_alike(scaled, spread, share) for share in ALIKE]
    if len(means) > LEAST_BESIDE_ONE:
        fits.append(_one_apart(scaled, spread))
    fits += [
        _fitted(scaled, spread, k)
        for k in range(1, MOST_COMPONENTS + 1)
        if k == 1 or len(means) >= k * TRIALS_PER_COMPONENT
    ]
    given = [_given(scaled, spread, fit.mixture) for fit in fits]
    criteria = np.array([f.penalty - 2 * g.log_likelihood for f, g in zip(fits, given, strict=True)])
    weights = np.exp(-(criteria - criteria.min()) / 2)
    weights /= weights.sum()
    return TrueMeans(
        noise,
        np.concatenate([w * g.shares for w, g in zip(weights, given, strict=True)], axis=1),
        np.concatenate([g.centres for g in given], axis=1) * unit,
        np.concatenate([g.covariances for g in given], axis=1) * np.outer(unit, unit),
        float(weights[: len(ALIKE)].sum()),
    )


class Fit(NamedTuple):
    """A mixture, and what the information criterion adds for what was fitted in it."""

    mixture: Mixture
    penalty: float


def _alike(means: Floats, spread: Floats, share: float) -> Fit:
    """One component around the mean of all, with so large a share of the noise's extent."""
    n, m = means.shape
    mixture = Mixture(np.ones(1), _middle(means, spread)[None], share * spread.mean(0)[None])
    return Fit(mixture, m * math.log(n) + 2 * math.log(len(ALIKE)))


def _middle(means: Floats, spread: Floats) -> Floats:
    """The mean (m,) of all, each weighed by how well it is known."""
    n, m = means.shape
    precision = np.broadcast_to(np.linalg.inv(spread + JITTER * np.eye(m)), (n, m, m))
    middle: Floats = np.linalg.solve(precision.sum(0), np.einsum("nij,nj->i", precision, means))
    return middle


def _one_apart(means: Floats, spread: Floats) -> Fit:
    """All the same but for the trial that is farthest from them: one good trial among many that do nothing. Any of the
    n could be the one, so that it must lie far out to be taken for it."""
    n, m = means.shape
    apart = means - np.median(means, axis=0)
    precision = np.linalg.inv(spread.mean(0) + JITTER * np.eye(m))
    far = int(np.einsum("ni,ij,nj->n", apart, precision, apart).argmax())
    rest = np.arange(n) != far
    middle = _middle(means[rest], spread[rest] if len(spread) > 1 else spread)
    extent = spread.mean(0)
    mixture = Mixture(np.array([n - 1, 1]) / n, np.stack([middle, means[far]]), np.stack([0 * extent, extent]))
    return Fit(mixture, (2 * m + 1) * math.log(n))


def _fitted(means: Floats, spread: Floats, k: int) -> Fit:
    """The likeliest mixture of `k` components, by EM from `k` equal parts along the widest direction."""
    mixture, before = _begun(means, spread, k), -np.inf
    for _ in range(STEPS):
        given = _given(means, spread, mixture)
        size = given.shares.sum(0) + 1e-300
        middle = np.einsum("nk,nki->ki", given.shares, given.centres) / size[:, None]
        apart = given.centres - middle
        extent = np.einsum("nk,nki,nkj->kij", given.shares, apart, apart)
        within = np.broadcast_to(given.covariances, (len(means), *given.covariances.shape[1:]))
        extent += np.einsum("nk,nkij->kij", given.shares, within)
        extent = (extent + PSEUDO * spread.mean(0)) / (size[:, None, None] + PSEUDO)
        mixture = Mixture(size / len(means), middle, extent)
        if given.log_likelihood - before < CLOSE_ENOUGH * len(means):
            break
        before = given.log_likelihood
    m = means.shape[1]
    return Fit(mixture, (k * (1 + m + m * (m + 1) // 2) - 1) * math.log(len(means)))


def _begun(means: Floats, spread: Floats, k: int) -> Mixture:
    """Where the fit begins: each part's own spread beyond that of the noise."""
    apart = means - means.mean(0)
    widest = np.linalg.svd(apart, full_matrices=False)[2][0]
    parts = np.array_split(np.argsort(apart @ widest, kind="stable"), k)
    centres, jitter = np.stack([means[part].mean(0) for part in parts]), JITTER * np.eye(means.shape[1])
    extents = []
    for part, centre in zip(parts, centres, strict=True):
        of_noise = np.linalg.cholesky((spread[part].mean(0) if len(spread) > 1 else spread[0]) + jitter)
        white = np.linalg.solve(of_noise, (means[part] - centre).T)
        values, directions = np.linalg.eigh(white @ white.T / max(1, len(part) - 1))
        values = np.maximum(values - 1, LEAST_SPREAD)
        extents.append(of_noise @ (directions * values) @ directions.T @ of_noise.T)
    return Mixture(np.array([len(part) / len(means) for part in parts]), centres, np.stack(extents))


class Given(NamedTuple):
    """What the means say of each trial: the components' shares (n, k), by component the true mean's centre (n, k, m)
    and covariance (n or 1, k, m, m); the log-likelihood of all means."""

    shares: Floats
    centres: Floats
    covariances: Floats
    log_likelihood: float


def _given(means: Floats, spread: Floats, mixture: Mixture) -> Given:
    """For `means` (n, m) with noise of the covariance `spread` (n or 1, m, m)."""
    n, m = means.shape
    whole = mixture.covariances + spread[:, None] + JITTER * np.eye(m)
    inverse = np.linalg.inv(whole)
    apart = means[:, None] - mixture.centres
    pulled = np.einsum("nkij,nkj->nki", np.broadcast_to(inverse, (n, *inverse.shape[1:])), apart)
    log_density = -0.5 * ((apart * pulled).sum(-1) + np.linalg.slogdet(whole)[1] + m * math.log(2 * math.pi))
    joint = np.log(mixture.shares + 1e-300) + log_density
    top = joint.max(1, keepdims=True)
    total = top + np.log(np.exp(joint - top).sum(1, keepdims=True))
    # As differences from the means: what has no noise stays where it is, to the last bit.
    away = np.einsum("nij,nkj->nki", np.broadcast_to(spread, (n, m, m)), pulled)
    return Given(
        np.exp(joint - total),
        means[:, None] - away,
        spread[:, None] - spread[:, None] @ inverse @ spread[:, None],
        float(total.sum()),
    )
