"""The noise of scores over seeds: what is shared, what is pooled, what follows the mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from analysis import noise as noise_module
from analysis.noise import Floats, _prior_freedom, noise_of, root, tails


def scores(n: int, n_seeds: int, m: int, sd: float | Floats = 0.015, shared: float = 0.02, seed: int = 0) -> Floats:
    """Scores of n trials whose means differ by 0.05, with noise of the deviation `sd` and one that seeds share."""
    draw = np.random.default_rng(seed)
    own = draw.standard_normal((n, n_seeds, m)) * np.asarray(sd).reshape(-1, 1, 1)
    found: Floats = 0.8 + 0.05 * draw.standard_normal((n, 1, m)) + shared * draw.standard_normal((1, n_seeds, m)) + own
    return found


def test_by_hand() -> None:
    noise = noise_of(np.array([[[0.1], [0.2], [0.6]], [[0.3], [0.6], [0.6]]]))
    # Trials' means 0.3 and 0.5, seeds' means 0.2, 0.4, 0.6, their mean 0.4: left are 0, -0.1, 0.1 and the negative.
    assert noise.residuals[..., 0] == pytest.approx(np.array([[0, -0.1, 0.1], [0, 0.1, -0.1]]))
    assert noise.shared == pytest.approx(np.array([[0.04]]))
    assert noise.of_one == pytest.approx(np.array([[[0.04 / 2]]])), "sum of squares 0.04 over (2 - 1)(3 - 1)"
    assert noise.freedom == 2
    assert noise.of_contrasts == pytest.approx(0.02 * (1 - 1 / 2) / 3)


@pytest.mark.parametrize(("n", "n_seeds", "m"), [(2, 2, 1), (5, 3, 2), (7, 4, 3)])
def test_as_by_loops(n: int, n_seeds: int, m: int) -> None:
    values = scores(n, n_seeds, m)
    noise = noise_of(values)
    pooled = np.zeros((m, m))
    for i in range(n):
        for s in range(n_seeds):
            left = [
                values[i, s, j] - values[i, :, j].mean() - values[:, s, j].mean() + values[:, :, j].mean()
                for j in range(m)
            ]
            assert noise.residuals[i, s] == pytest.approx(left)
            pooled += np.outer(left, left) / ((n - 1) * (n_seeds - 1))
    assert noise.of_one.shape == (1, m, m), "too few trials to tell their noises apart"
    assert noise.of_one[0] == pytest.approx(pooled)
    assert noise.freedom == (n - 1) * (n_seeds - 1)
    assert noise.shared == pytest.approx(np.atleast_2d(np.cov(values.mean(0).T)))


def test_what_seeds_share_is_no_noise_of_one_trial() -> None:
    apart = noise_of(scores(20, 3, 2, shared=0.0))
    moved = noise_of(scores(20, 3, 2, shared=0.0) + np.array([0.1, -0.2, 0.3])[:, None])
    assert moved.of_one == pytest.approx(apart.of_one)
    assert moved.shared[0, 0] > 0.05


def test_one_trial_has_no_noise_beside_what_is_shared() -> None:
    noise = noise_of(np.array([[[0.1, 0.5], [0.3, 0.5], [0.2, 0.5]]]))
    assert not noise.of_one.any()
    assert not noise.residuals.any()
    assert noise.shared == pytest.approx(np.array([[0.01, 0], [0, 0]]))


def test_equal_noise_is_pooled_and_nothing_else_is_fitted() -> None:
    alone = sum(noise_of(scores(40, 3, 1, seed=seed)).of_one.shape == (1, 1, 1) for seed in range(40))
    assert alone >= 34, "each of two tests errs in about 1 of 20"


def test_noise_that_goes_with_the_mean_follows_a_line() -> None:
    means = np.linspace(0.5, 0.95, 60)
    sds = 0.05 * np.exp(-5 * (means - 0.5))  # from 0.05 to 0.005
    values = means[:, None, None] + sds[:, None, None] * np.random.default_rng(3).standard_normal((60, 5, 1))
    assert np.sqrt(noise_of(values).of_one[:, 0, 0]) == pytest.approx(sds, rel=0.35)


def test_variances_that_differ_by_more_than_chance_are_drawn_towards_the_common_one() -> None:
    sds = np.where(np.arange(60) % 2 == 0, 0.005, 0.05)
    values = scores(60, 5, 1, sds, seed=5)
    noise = noise_of(values)
    raw = np.square(noise.residuals[..., 0]).sum(1) * 60 / 59 / 4
    assert noise.of_one.shape == (60, 1, 1)
    assert 4 < noise.freedom < 12
    # Smyth 2004, section 3, by hand: between its own variance and that of the prior, at the same share for all.
    prior = noise.freedom - 4
    scale = max(prior - 2, 1) / prior * raw.mean()
    assert noise.of_one[:, 0, 0] == pytest.approx((prior * scale + 4 * raw) / (prior + 4), rel=0.15)
    assert noise.of_one[::2].mean() < 0.5 * noise.of_one[1::2].mean()


@pytest.mark.parametrize("prior", [1.0, 6.0])
def test_variances_are_moderated_as_by_hand(prior: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smyth 2004, section 3, with the scale whose prior mean is the common variance, d0 / (d0 - 2) times the scale;
    where that has no mean, at d0 <= 2, the scale is the common one by d0."""
    monkeypatch.setattr(noise_module, "_prior_freedom", lambda variances, freedom: prior)
    values = scores(6, 5, 1, seed=5)
    noise = noise_of(values)
    raw = np.square(noise.residuals[..., 0]).sum(1) * 6 / 5 / 4
    s0 = raw.mean() * {1.0: 1.0, 6.0: 4 / 6}[prior]
    assert noise.of_one[:, 0, 0] == pytest.approx((prior * s0 + 4 * raw) / (prior + 4))
    assert noise.freedom == prior + 4


def test_beyond_the_reach_the_noise_stays() -> None:
    """A trial far below the others, naive say, has the noise of the line's end, not more."""
    means = np.concatenate([np.linspace(0.9, 0.95, 20), [0.2]])
    variances = np.exp(-8 * (means - 0.9))
    factors = noise_module._trend(variances[:, None], means[:, None])[:, 0]
    reach = 1.5 * means.std()
    assert (factors != 1).all()
    ends = (means - means.mean()).clip(-reach, reach)
    slope = np.diff(np.log(factors[[0, -1]])) / np.diff(ends[[0, -1]])
    assert np.log(factors) == pytest.approx(slope * ends), "a line as far as the reach, from where it is level"


def test_how_far_variances_differ_is_read_off_their_logarithms() -> None:
    draw = np.random.default_rng(11)
    true = 6.0 / draw.chisquare(6, 4000)
    assert _prior_freedom((true * draw.chisquare(4, 4000) / 4)[:, None], 4) == pytest.approx(6, rel=0.15)
    assert math.isinf(_prior_freedom((draw.chisquare(4, 400) / 4)[:, None], 4))
    logs = np.log(draw.chisquare(4, 40_000))
    assert logs.var() == pytest.approx(float(special.polygamma(1, 2)), rel=0.05), "what chance alone gives"


@pytest.mark.parametrize(
    "values",
    [
        np.full((6, 3, 2), 0.1 + 0.2),
        np.full((6, 3, 2), 1.0),
        np.repeat(np.linspace(0.1, 0.9, 12), 6).reshape(12, 3, 2),
        np.stack([scores(12, 3, 1)[..., 0], np.full((12, 3), 0.7)], -1),
    ],
    ids=["equal", "at the ceiling", "no noise", "no noise in one score"],
)
def test_where_nothing_varies_there_is_no_noise(values: Floats) -> None:
    noise = noise_of(values)
    assert np.isfinite(noise.of_one).all()
    assert noise.of_one[..., -1, -1] == pytest.approx(0, abs=1e-30)
    draw = np.random.default_rng(0)
    assert np.abs(noise.contrasts(10, draw)[..., -1]).max() < 1e-14


def test_a_cost_without_noise_says_nothing_of_the_noise_of_other_scores() -> None:
    """Sevenths are rounded, and so are their means over seeds."""
    scores = 0.7 + 0.01 * np.random.default_rng(0).standard_normal((30, 3, 2))
    both = noise_of(np.concatenate([scores, np.arange(3, 33)[:, None, None] / 7 * np.ones((30, 3, 1))], axis=2))
    alone = noise_of(scores)
    assert both.freedom == alone.freedom
    assert not both.of_one[:, 2].any()
    np.testing.assert_array_equal(both.of_one[:, :2, :2], alone.of_one)


def test_simulated_errors_spread_as_the_noise_does() -> None:
    values, draw = scores(15, 4, 2), np.random.default_rng(1)
    noise = noise_of(values)
    errors = noise.contrasts(40_000, draw)
    own = np.einsum("nsi,nsj->nij", noise.residuals, noise.residuals) / (4 * 3)
    widened = 42 / 40  # the variance of Student's t of 42 degrees of freedom
    assert np.einsum("dni,dnj->nij", errors, errors) / len(errors) == pytest.approx(own * widened, rel=0.1, abs=2e-6)
    assert errors.sum(1) == pytest.approx(np.zeros((40_000, 2)), abs=1e-12), "contrasts have no level"
    levels = noise.levels(40_000, draw)
    inner = np.abs(levels[:, 0]) < special.stdtrit(3, 0.975) * math.sqrt(noise.shared[0, 0] / 4)
    assert inner.mean() == pytest.approx(0.95, abs=0.006), "Student's t of three degrees of freedom"


def test_simulated_contrasts_have_the_tails_of_few_degrees_of_freedom() -> None:
    """Two trials over three seeds: their difference has Student's t of (2 - 1)(3 - 1) = 2."""
    noise = noise_of(scores(2, 3, 1))
    errors = noise.contrasts(40_000, np.random.default_rng(1))[:, 0, 0]
    deviation = math.sqrt(float(np.square(noise.residuals[0, :, 0]).sum()) / (3 * 2))
    inner = np.abs(errors) < special.stdtrit(2, 0.975) * deviation
    assert inner.mean() == pytest.approx(0.95, abs=0.006)


def test_tails_are_those_of_students_t() -> None:
    draw = np.random.default_rng(2)
    drawn = draw.standard_normal(200_000) * tails(5, (200_000,), draw)
    assert np.quantile(drawn, [0.9, 0.975]) == pytest.approx(special.stdtrit(5, [0.9, 0.975]), rel=0.02)
    assert (tails(math.inf, (3,), draw) == 1).all()


def test_a_root_squares_to_its_covariance() -> None:
    half = np.random.default_rng(4).standard_normal((5, 3, 2))
    covariances = half @ half.swapaxes(-1, -2)  # of rank 2: no Cholesky factor
    assert root(covariances) @ root(covariances).swapaxes(-1, -2) == pytest.approx(covariances, abs=1e-12)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_root_gives_no_spread_to_what_has_none(place: int) -> None:
    """Plain eigenvalues would give a score whose deviation is 1e-15 one of 1e-10, where it stands between others: a
    cost in bytes would no longer be equal where it is."""
    draw, sizes = np.random.default_rng(5), np.full(3, 0.01)
    sizes[place] = 1e-15
    for _ in range(100):
        half = np.diag(sizes) @ draw.standard_normal((3, 8))
        assert np.abs(root(half @ half.T)[place]).max() < 1e-13
