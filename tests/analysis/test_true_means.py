"""True means: EM against plain loops, a posterior in closed form, what has no noise, what is chosen."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import multivariate_normal

from analysis import true_means as under_test
from analysis.noise import Floats
from analysis.true_means import JITTER, Mixture, true_means
from tests.analysis.test_noise import scores


def mixture_of(k: int, m: int, draw: np.random.Generator) -> Mixture:
    half = draw.standard_normal((k, m, m))
    shares = draw.uniform(0.5, 1, k)
    return Mixture(shares / shares.sum(), draw.standard_normal((k, m)), half @ half.swapaxes(-1, -2))


@pytest.mark.parametrize(("k", "m", "each"), [(1, 1, False), (2, 2, True), (3, 3, False)])
def test_what_the_means_say_is_what_gaussians_say(k: int, m: int, each: bool) -> None:
    """Trial by trial and component by component, by the rules for a Gaussian that is given its sum with another."""
    draw, n = np.random.default_rng(k), 6
    means, mixture = draw.standard_normal((n, m)), mixture_of(k, m, draw)
    half = draw.standard_normal((n if each else 1, m, m))
    spread = half @ half.swapaxes(-1, -2)
    found = under_test._given(means, spread, mixture)
    total = 0.0
    for i in range(n):
        noise = spread[i if each else 0]
        joint = [
            mixture.shares[c] * multivariate_normal(mixture.centres[c], mixture.covariances[c] + noise).pdf(means[i])
            for c in range(k)
        ]
        total += math.log(sum(joint))
        assert found.shares[i] == pytest.approx(np.array(joint) / sum(joint))
        for c in range(k):
            gain = mixture.covariances[c] @ np.linalg.inv(mixture.covariances[c] + noise)
            centre = mixture.centres[c] + gain @ (means[i] - mixture.centres[c])
            assert found.centres[i, c] == pytest.approx(centre, abs=1e-7)
            within = mixture.covariances[c] - gain @ mixture.covariances[c]
            assert found.covariances[i if each else 0, c] == pytest.approx(within, abs=1e-7)
    assert found.log_likelihood == pytest.approx(total)


def step_by_loops(means: Floats, spread: Floats, mixture: Mixture) -> Mixture:
    """One step of extreme deconvolution, with the prior of one trial as wide as the noise, from the paper's sums."""
    (n, m), k = means.shape, len(mixture.shares)
    given = under_test._given(means, spread, mixture)
    shares, centres, extents = np.zeros(k), np.zeros((k, m)), np.zeros((k, m, m))
    for c in range(k):
        size = sum(given.shares[i, c] for i in range(n))
        shares[c] = size / n
        centres[c] = sum(given.shares[i, c] * given.centres[i, c] for i in range(n)) / size
        total = spread.mean(0).copy()
        for i in range(n):
            apart = given.centres[i, c] - centres[c]
            within = given.covariances[i if len(given.covariances) > 1 else 0, c]
            total += given.shares[i, c] * (np.outer(apart, apart) + within)
        extents[c] = total / (size + 1)
    return Mixture(shares, centres, extents)


@pytest.mark.parametrize("each", [False, True])
def test_a_step_of_the_fit_is_that_of_the_paper(each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(8)
    means = np.concatenate([draw.normal(-2, 0.5, (12, 2)), draw.normal(2, 0.5, (12, 2))])
    spread = 0.05 * np.eye(2) * (draw.uniform(0.5, 2, (24, 1, 1)) if each else np.ones((1, 1, 1)))
    monkeypatch.setattr(under_test, "STEPS", 1)
    found = under_test._fitted(means, spread, 2)
    expected = step_by_loops(means, spread, under_test._begun(means, spread, 2))
    assert found.mixture.shares == pytest.approx(expected.shares)
    assert found.mixture.centres == pytest.approx(expected.centres)
    assert found.mixture.covariances == pytest.approx(expected.covariances)
    assert found.penalty == pytest.approx((2 - 1 + 2 * 2 + 2 * 3) * math.log(24)), (
        "a share, two centres, two covariances"
    )


def test_more_steps_never_fit_worse_without_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(9)
    means, spread = draw.standard_normal((40, 2)), 0.1 * np.eye(2)[None]
    monkeypatch.setattr(under_test, "PSEUDO", 0.0)
    monkeypatch.setattr(under_test, "CLOSE_ENOUGH", -np.inf)
    reached = []
    for steps in range(1, 12):
        monkeypatch.setattr(under_test, "STEPS", steps)
        mixture = under_test._fitted(means, spread, 2).mixture
        reached.append(under_test._given(means, spread, mixture).log_likelihood)
    assert (np.diff(reached) > -1e-9).all()
    assert reached[-1] > reached[0]


def test_the_fit_finds_what_made_the_means() -> None:
    draw = np.random.default_rng(10)
    means = np.concatenate([draw.normal(0, 0.1, (240, 1)), draw.normal(3, 0.5, (120, 1))])
    means = means + draw.normal(0, 0.3, means.shape)
    found = under_test._fitted(means, np.full((1, 1, 1), 0.09), 2).mixture
    assert found.shares == pytest.approx([2 / 3, 1 / 3], abs=0.05)
    assert found.centres[:, 0] == pytest.approx([0, 3], abs=0.15)
    assert np.sqrt(found.covariances[:, 0, 0]) == pytest.approx([0.1, 0.5], abs=0.1), "without the noise of 0.3"


def test_with_one_gaussian_a_mean_is_shrunk_by_the_share_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closed form: m + (x - m) v / (v + s), as of Efron & Morris 1975, for the fitted centre m and variance v."""
    monkeypatch.setattr(under_test, "ALIKE", ())
    monkeypatch.setattr(under_test, "LEAST_BESIDE_ONE", 30)
    monkeypatch.setattr(under_test, "MOST_COMPONENTS", 1)
    values = scores(30, 3, 1)
    posterior, x = true_means(values), values.mean((1, 2))
    s, unit = float(posterior.noise.of_contrasts[0, 0, 0]), x.std()
    fit = under_test._fitted(x[:, None] / unit, np.full((1, 1, 1), s / unit**2), 1).mixture
    m, v = float(fit.centres[0, 0]) * unit, float(fit.covariances[0, 0, 0]) * unit**2
    assert posterior.means[:, 0] == pytest.approx(m + (x - m) * v / (v + s))
    assert posterior.covariances[0, 0, 0, 0] == pytest.approx(v * s / (v + s))
    # The fit is where the likelihood, with the prior's one trial, is highest: v + s is near the variance of the means.
    assert v + s == pytest.approx(x.var(), rel=0.1)
    assert m == pytest.approx(x.mean(), abs=1e-3)
    assert posterior.alike == 0


def test_draws_have_the_tails_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials over three seeds know their noise from two degrees of freedom; here with one Gaussian alone."""
    monkeypatch.setattr(under_test, "ALIKE", ())
    monkeypatch.setattr(under_test, "MOST_COMPONENTS", 1)
    posterior = true_means(scores(2, 3, 1))
    assert (posterior.noise.freedom, posterior.shares.shape) == (2, (2, 1))
    apart = posterior.draws(20_000, np.random.default_rng(0))[:, 0, 0] - posterior.means[0, 0]
    inner = np.abs(apart) < stdtrit(2, 0.975) * math.sqrt(posterior.covariances[0, 0, 0, 0])
    assert inner.mean() == pytest.approx(0.95, abs=0.008)


def test_fits_count_by_their_information_criteria(monkeypatch: pytest.MonkeyPatch) -> None:
    """exp(-BIC / 2), Raftery 1995, over two fits: all the same, and spread by the noise's share of 1."""
    monkeypatch.setattr(under_test, "ALIKE", (0.0, 1.0))
    monkeypatch.setattr(under_test, "LEAST_BESIDE_ONE", 30)
    monkeypatch.setattr(under_test, "MOST_COMPONENTS", 0)
    values = scores(5, 3, 1, seed=3) * 0.1
    posterior, x = true_means(values), values.mean((1, 2))
    s, unit = float(posterior.noise.of_contrasts[0, 0, 0]), x.std()
    evidence = [
        math.prod(math.exp(-((v - x.mean()) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var / unit**2) for v in x)
        for var in (s, 2 * s)
    ]
    expected = x.mean() + (x - x.mean()) * 0.5 * evidence[1] / sum(evidence)
    assert posterior.means[:, 0] == pytest.approx(expected)


def test_equal_trials_are_found_alike_and_drawn_together() -> None:
    shares, pulled = [], []
    for seed in range(20):
        values = 0.8 + 0.015 * np.random.default_rng(seed).standard_normal((24, 3, 1))
        posterior = true_means(values)
        shares.append(posterior.alike)
        pulled.append(posterior.means.std() / values.mean(1).std())
    assert np.median(shares) > 0.7
    assert np.mean(np.array(shares) > 0.5) >= 0.8
    assert np.mean(pulled) < 0.35


@pytest.mark.parametrize("each", [False, True])
def test_one_trial_apart_from_equal_ones_by_its_density(each: bool) -> None:
    """The three others have the mean 0, weighed by their noise; the fourth is a quarter of all, anywhere else."""
    means = np.array([[-1.0, 0.0], [1.0, 0.0], [5.0, 5.0], [0.0, 0.0]])
    noise = np.eye(2)[None] * (np.array([2.0, 2.0, 1.0, 1.0])[:, None, None] if each else 1.0)
    fit = under_test._one_apart(means, noise)
    assert fit.mixture.shares.tolist() == [0.75, 0.25]
    assert fit.mixture.centres == pytest.approx(np.array([[0.0, 0.0], [5.0, 5.0]]))
    assert fit.mixture.covariances == pytest.approx(np.stack([np.zeros((2, 2)), noise.mean(0)]))
    assert fit.penalty == pytest.approx(5 * math.log(4)), "two centres, and which it is"


def test_one_good_trial_among_equal_ones_is_not_drawn_to_them() -> None:
    """Three deviations of a run above them, seven of a mean. Without a fit of its own it loses a third of a deviation,
    in some studies more than one."""
    lost = []
    for seed in range(20):
        values = np.random.default_rng(seed).standard_normal((40, 5, 1))
        values[7] += 3.0
        lost.append(values[7].mean() - true_means(values).means[7, 0])
    assert np.mean(lost) < 0.1
    assert max(lost) < 0.6


def test_trials_far_apart_are_left_where_they_are() -> None:
    values = np.linspace(0.2, 0.9, 24)[:, None, None] + 0.002 * np.random.default_rng(0).standard_normal((24, 3, 1))
    posterior = true_means(values)
    assert posterior.alike < 1e-6
    assert posterior.means == pytest.approx(values.mean(1), abs=2e-4)


def test_the_best_of_equal_trials_is_not_flattered() -> None:
    """Bias of the best of 48: the raw one is 2.2 standard errors; the corrected one below a third of that."""
    raw, held = [], []
    for seed in range(60):
        values = 0.8 + 0.015 * np.random.default_rng(seed).standard_normal((48, 3, 1))
        means = values.mean((1, 2))
        raw.append(means.max() - 0.8)
        held.append(true_means(values).means[means.argmax(), 0] - 0.8)
    assert np.mean(raw) == pytest.approx(2.2 * 0.015 / math.sqrt(3), rel=0.1)
    assert abs(np.mean(held)) < np.mean(raw) / 3


def test_draws_have_the_moments_that_are_told() -> None:
    posterior = true_means(scores(20, 6, 2, seed=4))
    drawn = posterior.draws(20_000, np.random.default_rng(0))
    assert drawn.mean(0) == pytest.approx(posterior.means, abs=4e-4)
    apart = posterior.centres - posterior.means[:, None]
    within = np.broadcast_to(posterior.covariances, (20, *posterior.covariances.shape[1:]))
    wide = posterior.noise.freedom / (posterior.noise.freedom - 2)
    expected = np.einsum("nk,nki,nkj->nij", posterior.shares, apart, apart)
    expected += wide * np.einsum("nk,nkij->nij", posterior.shares, within)
    for i in range(20):
        assert np.cov(drawn[:, i].T) == pytest.approx(expected[i], rel=0.1, abs=3e-6)


def test_what_has_no_noise_stays_where_it_is_to_the_last_bit() -> None:
    sizes = np.array([663600.0, 663600.0, 800123.0, 1e6, 5.0, 0.1 + 0.2] * 4) / 1e6
    values = np.concatenate([scores(24, 3, 2), np.broadcast_to(sizes[:, None, None], (24, 3, 1))], -1)
    posterior = true_means(values)
    assert posterior.means[:, 2].tolist() == pytest.approx(values.mean(1)[:, 2].tolist(), abs=1e-15)
    drawn = np.round(posterior.draws(50, np.random.default_rng(0))[..., 2], 12)
    assert (drawn == np.round(sizes, 12)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 24])
@pytest.mark.parametrize("level", [0.0, 0.1 + 0.2, 1.0])
def test_equal_values_without_noise(n: int, level: float) -> None:
    posterior = true_means(np.full((n, 3, 2), level))
    assert posterior.means == pytest.approx(np.full((n, 2), level), abs=1e-12)
    assert posterior.draws(5, np.random.default_rng(0)) == pytest.approx(np.full((5, n, 2), level), abs=1e-12)


def test_one_trial_has_nothing_to_be_drawn_to() -> None:
    values = np.array([[[0.7], [0.8], [0.9]]])
    assert true_means(values).means == pytest.approx(np.array([[0.8]]))


def test_of_two_trials_none_leaves_the_other_side() -> None:
    found = true_means(scores(2, 3, 1, seed=1)).means[:, 0]
    raw = scores(2, 3, 1, seed=1).mean((1, 2))
    assert raw.min() <= found.min() <= found.max() <= raw.max()
    assert found.mean() == pytest.approx(raw.mean(), abs=1e-3)


def test_scores_at_the_ceiling() -> None:
    draw = np.random.default_rng(2)
    values = np.minimum(1.0, 0.99 + 0.02 * draw.standard_normal((30, 3, 2)))
    values[:10] = 1.0
    posterior = true_means(values)
    assert np.isfinite(posterior.means).all()
    assert posterior.means.max() <= 1.005


def test_units_do_not_matter() -> None:
    values = scores(24, 3, 2)
    factors = np.array([100.0, 1e-3])
    assert true_means(values * factors).means == pytest.approx(true_means(values).means * factors, rel=1e-6)


def test_a_thousand_trials_take_no_minute() -> None:
    values = scores(1000, 3, 3)
    start = time.perf_counter()
    found = true_means(values)
    assert time.perf_counter() - start < 30, "half a second where nothing else runs"
    assert found.means.shape == (1000, 3)
    assert found.means == pytest.approx(values.mean(1), abs=0.05)


def test_the_jitter_is_far_below_any_noise_that_counts() -> None:
    assert JITTER < 1e-8
