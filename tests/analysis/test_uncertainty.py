"""Intervals hold what they promise: by hand, by plain twins, and on made-up studies whose truth is known.

The studies have fixed seeds. Their bounds are such that intervals of half the width fail.
"""

from __future__ import annotations

import math

import moocore
import numpy as np
import pytest
from scipy import stats

from analysis.noise import Floats, noise_of
from analysis.true_means import true_means
from analysis.uncertainty import Estimate, Side, _of_levels, corrected, corrected_means, interval, of_front, paired
from tests.analysis.test_noise import scores

UNIT = (np.zeros(2), np.ones(2))
FEW = 400  # draws: they tell coverage, and 2,000 take five times as long
BOTH = [True, True]


def hold(found: Estimate | None, truth: float) -> bool:
    assert found is not None
    return found.interval[0] <= truth <= found.interval[1]


def test_students_interval_by_hand_and_as_of_scipy() -> None:
    found = paired(np.array([0.0, 0.03, 0.06]))
    assert found is not None
    assert found.value == pytest.approx(0.03)
    half = 4.30265 * 0.03 / math.sqrt(3)
    assert found.interval == pytest.approx((0.03 - half, 0.03 + half), abs=1e-6)
    for n in (3, 4, 10):
        differences = np.random.default_rng(n).standard_normal(n)
        held = paired(differences)
        expected = stats.t.interval(0.95, n - 1, differences.mean(), stats.sem(differences))
        assert held is not None
        assert held.interval == pytest.approx(expected)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_seeds_give_nothing(n: int) -> None:
    assert paired(np.zeros(n)) is None
    assert corrected_means(np.zeros((5, n))) is None
    assert corrected(Side(np.zeros((1, n))), Side(np.zeros((5, n)))) is None
    assert of_front(np.zeros((5, n, 2)), BOTH, (0.0, 0.0), UNIT) is None


def test_differences_without_spread_have_an_interval_of_one_point() -> None:
    assert paired(np.full(3, 0.25)) == Estimate(0.25, (0.25, 0.25))
    found = corrected(Side(np.full((1, 3), 0.5)), Side(np.array([[0.6] * 3, [0.75] * 3]), 1))
    assert found is not None
    assert (found.value, *found.interval) == pytest.approx((0.25, 0.25, 0.25), abs=1e-8)


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_the_interval_of_a_difference_named_beforehand_covers(n_seeds: int) -> None:
    draw = np.random.default_rng(n_seeds)
    held = [hold(paired(0.02 + 0.01 * draw.standard_normal(n_seeds)), 0.02) for _ in range(2000)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015), "three standard errors; half the width holds 0.84 and less"


def test_a_trial_on_both_sides_counts_once() -> None:
    """Of two trials, one the default: 1.5 times the variance of one over the seeds, which 2 degrees of freedom tell."""
    values = np.array([[0.70, 0.72, 0.77], [0.74, 0.73, 0.75]])
    variance, freedom = _of_levels(Side(values[:1]), Side(values, 1))
    of_one = float((values[1] - values[0]).var(ddof=1)) / 2
    assert (variance, freedom) == pytest.approx((1.5 * of_one / 3, 2))
    other = np.array([[0.71, 0.70, 0.74]])
    apart = noise_of(np.concatenate([values, other])[..., None])
    variance, freedom = _of_levels(Side(other), Side(values, 1))
    assert (variance, freedom) == pytest.approx((1.5 * apart.of_one[0, 0, 0] / 3, 4))


def test_the_interval_of_a_chosen_trial_covers_among_two() -> None:
    """Far apart, so that nothing is shrunk: with the default counted twice it held in 89 %."""
    draw, held = np.random.default_rng(0), []
    for _ in range(300):
        values = np.array([[0.6], [0.8]]) + 0.015 * draw.standard_normal((2, 5))
        held.append(hold(corrected(Side(values[:1]), Side(values, 1), draws=FEW), 0.2))
    assert np.mean(held) > 0.91


@pytest.mark.parametrize(("n_seeds", "spread"), [(3, 0.0), (3, 0.03), pytest.param(5, 0.03, marks=pytest.mark.slow)])
def test_the_interval_of_a_chosen_trial_covers(n_seeds: int, spread: float) -> None:
    """The best of 24 beside the first of them, whether they differ or not."""
    draw, held, raw = np.random.default_rng(1), [], []
    for _ in range(200):
        true = 0.8 + spread * draw.standard_normal(24)
        values = true[:, None] + 0.02 * draw.standard_normal((1, n_seeds)) + 0.015 * draw.standard_normal((24, n_seeds))
        best = int(values.mean(1).argmax())
        held.append(hold(corrected(Side(values[:1]), Side(values, best), draws=FEW), true[best] - true[0]))
        raw.append(values[best].mean() - values[0].mean() - true[best] + true[0])
    assert 0.9 <= np.mean(held) <= 0.995
    assert np.mean(raw) > 0.001, "the raw difference is too high"


@pytest.mark.parametrize("n_seeds", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_interval_of_two_studies_covers_where_seeds_move_each_in_its_own_way(n_seeds: int) -> None:
    draw, held, as_one = np.random.default_rng(2), [], []
    for _ in range(80):
        true = 0.8 + 0.02 * draw.standard_normal((2, 24))
        moved = true[..., None] + 0.015 * draw.standard_normal((2, 1, n_seeds))
        values = moved + 0.01 * draw.standard_normal((2, 24, n_seeds))
        best = values.mean(2).argmax(1)
        sides, truth = [Side(v, int(b)) for v, b in zip(values, best, strict=True)], true[1, best[1]] - true[0, best[0]]
        held.append(hold(corrected(*sides, one_study=False, draws=FEW), truth))
        as_one.append(hold(corrected(*sides, draws=FEW), truth))
    assert np.mean(held) >= 0.9
    assert np.mean(as_one) < 0.85, "as if both were of one study, it would be too narrow"


@pytest.mark.parametrize("one_study", [True, False])
def test_of_two_trials_alone_the_interval_is_students(one_study: bool) -> None:
    """Neither was chosen: nothing is shrunk, and their difference over seeds is all that is known of their levels."""
    first, second = scores(2, 3, 1, seed=8)[..., 0]
    expected = paired(second - first)
    found = corrected(Side(first[None]), Side(second[None]), one_study, draws=200_000)
    assert expected is not None
    assert found is not None
    assert found.value == pytest.approx(expected.value)
    assert found.interval == pytest.approx(expected.interval, abs=0.03 * (expected.interval[1] - expected.interval[0]))


def plain_front(values: Floats, draws: int) -> tuple[Floats, float, tuple[float, float]]:
    """The probabilities, the corrected volume and its interval, one draw after another."""
    rng, posterior, raw = np.random.default_rng(7), true_means(values), values.mean(1)
    centre = moocore.hypervolume(posterior.means, ref=[0, 0], maximise=True)
    gains, on_front = [], np.zeros(len(values))
    for _ in range(draws):
        points = posterior.draws(1, rng)[0]
        for i, point in enumerate(points):
            beaten = any((other >= point).all() and (other > point).any() for other in points)
            on_front[i] += not beaten
        errors = posterior.noise.contrasts(1, rng)[0] + posterior.noise.levels(1, rng)
        gains.append(moocore.hypervolume(posterior.means + errors, ref=[0, 0], maximise=True) - centre)
    volume = moocore.hypervolume(raw, ref=[0, 0], maximise=True)
    low, high = np.quantile(gains, [0.025, 0.975])
    return on_front / draws, float(volume - np.median(gains)), (float(volume - high), float(volume - low))


def test_a_front_as_by_a_plain_loop() -> None:
    values = scores(9, 4, 2, sd=0.02, shared=0.005, seed=3)
    chances, volume, ends = plain_front(values, 2000)
    found = of_front(values, BOTH, (0.0, 0.0), (np.full(2, -9.0), np.full(2, 9.0)))
    assert found is not None
    width = ends[1] - ends[0]
    assert found.front_share == pytest.approx(chances, abs=0.05), "three errors of a share of 2,000 draws, twice"
    assert found.hypervolume.value == pytest.approx(volume, abs=0.06 * width)
    assert found.hypervolume.interval == pytest.approx(ends, abs=0.15 * width)
    assert found.alike < 0.5


@pytest.mark.parametrize("n_seeds", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_interval_of_a_volume_covers_and_noise_is_taken_off(n_seeds: int) -> None:
    draw, held, raw, left = np.random.default_rng(4), [], [], []
    for _ in range(120):
        true = np.array([0.7, 0.8]) + 0.03 * draw.standard_normal((24, 2)) @ np.array([[1, -0.5], [0, 0.87]])
        values = true[:, None] + 0.015 * draw.standard_normal((1, n_seeds, 2))
        values = values + 0.015 * draw.standard_normal((24, n_seeds, 2))
        found = of_front(values, BOTH, (0.0, 0.0), UNIT, FEW)
        assert found is not None
        truth = moocore.hypervolume(true, ref=[0, 0], maximise=True)
        held.append(hold(found.hypervolume, truth))
        raw.append(moocore.hypervolume(values.mean(1), ref=[0, 0], maximise=True) - truth)
        left.append(found.hypervolume.value - truth)
    assert 0.88 <= np.mean(held) <= 0.995
    assert np.mean(raw) > 0.001
    assert abs(np.mean(left)) < np.mean(raw) / 2


def test_of_trials_shown_with_a_probability_as_many_are_on_the_front() -> None:
    draw, said, true_ones = np.random.default_rng(5), [], []
    for _ in range(80):
        true = 0.8 + 0.03 * draw.standard_normal((16, 2))
        found = of_front(true[:, None] + 0.015 * draw.standard_normal((16, 3, 2)), BOTH, (0.0, 0.0), UNIT, FEW)
        assert found is not None
        said.extend(found.front_share)
        true_ones.extend(moocore.is_nondominated(true, maximise=True))
    chances, on = np.array(said), np.array(true_ones)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        band = (chances >= low) & (chances < high)
        assert on[band].mean() == pytest.approx(chances[band].mean(), abs=0.1)


def test_equal_trials_without_noise_are_on_the_front_together() -> None:
    """Bytes have no noise: what is equal in them, and best, stays on the front whatever other objectives do."""
    values = scores(12, 3, 3, seed=6)
    values[..., 2] = 1.0
    values[:4, :, 2] = 1 / 3
    values[:4, :, :2] = [0.9, 0.95]
    found = of_front(values, [True, True, False], (0.0, 0.0, 1.1), (np.zeros(3), np.array([1.0, 1.0, np.inf])))
    assert found is not None
    assert len(set(found.front_share[:4].tolist())) > 1, "the noise of all is pooled, so that theirs are not equal"
    values[...] = values.mean(1, keepdims=True)
    found = of_front(values, [True, True, False], (0.0, 0.0, 1.1), (np.zeros(3), np.array([1.0, 1.0, np.inf])))
    assert found is not None
    assert found.front_share[:4].tolist() == [1.0] * 4
    ranks = moocore.pareto_rank(np.round(values[:, 0], 12), maximise=[True, True, False])
    assert found.front_share.tolist() == (ranks == 0).astype(float).tolist()
    volume = moocore.hypervolume(values[:, 0], ref=[0, 0, 1.1], maximise=[True, True, False])
    assert (found.hypervolume.value, *found.hypervolume.interval) == pytest.approx((volume,) * 3, abs=1e-8)


def test_two_equal_costs_do_not_beat_one_another_by_a_rounding() -> None:
    """A trial that is best in one noisy objective, at the same cost as all others, is on the front about as often as
    without the cost."""
    noisy = scores(24, 3, 2)
    cost = np.full((24, 3, 1), 663600 / 800123)
    bounds = (np.zeros(3), np.array([1.0, 1.0, np.inf]))
    without = of_front(noisy, BOTH, (0.0, 0.0), UNIT)
    beside = of_front(np.concatenate([noisy, cost], -1), [True, True, False], (0.0, 0.0, 1.1), bounds)
    assert without is not None
    assert beside is not None
    assert beside.front_share == pytest.approx(without.front_share, abs=0.1)


@pytest.mark.parametrize("n", [1, 2])
def test_one_trial_and_two(n: int) -> None:
    values = scores(n, 3, 2, seed=2)
    found = of_front(values, BOTH, (0.0, 0.0), UNIT)
    assert found is not None
    assert found.front_share.max() > 0.4
    if n == 1:
        assert found.front_share.tolist() == [1.0]
        assert found.hypervolume.interval[0] < values.mean(1).prod() < found.hypervolume.interval[1]
    means = corrected_means(values[..., 0])
    assert means is not None
    assert means.mean() == pytest.approx(values[..., 0].mean(), abs=1e-3)


def test_a_volume_is_never_below_nothing_nor_points_beyond_what_can_be() -> None:
    low = of_front(np.abs(0.001 * scores(12, 3, 2, sd=5.0)), BOTH, (0.0, 0.0), UNIT)
    assert low is not None
    assert 0 <= low.hypervolume.interval[0] <= low.hypervolume.value
    near = of_front(np.array([0.8, 1.0, 1.0])[:, None] * np.ones((12, 1, 2)), BOTH, (0.0, 0.0), UNIT)
    assert near is not None
    assert near.hypervolume.interval[1] == 1.0, "the noise of seeds alone would have it far beyond"
    ceiling = of_front(np.ones((12, 3, 2)), BOTH, (0.0, 0.0), UNIT)
    assert ceiling is not None
    assert (ceiling.hypervolume.value, *ceiling.hypervolume.interval) == pytest.approx((1.0, 1.0, 1.0))
    assert ceiling.front_share.tolist() == [1.0] * 12


def test_the_same_scores_give_the_same_numbers() -> None:
    values = scores(12, 3, 2)
    first, second = (of_front(values, BOTH, (0.0, 0.0), UNIT) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.hypervolume == second.hypervolume
    assert first.front_share.tolist() == second.front_share.tolist()


def test_the_middle_of_draws() -> None:
    assert interval(np.arange(2001.0)) == pytest.approx((50.0, 1950.0))
