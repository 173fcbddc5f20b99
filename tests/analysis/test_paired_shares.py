"""McNemar's p and Newcombe's interval: published values, slow twins, and how often the interval covers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from analysis.paired_shares import correlation, difference, mcnemar, wilson

Z = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def mcnemar_slowly(only_first: int, only_second: int) -> float:
    """The probability of all splits of the discordant pairs that are as uneven as this one or more so, one by one."""
    n = only_first + only_second
    uneven = abs(only_first - only_second)
    ways = sum(math.comb(n, k) for k in range(n + 1) if abs(k - (n - k)) >= uneven)
    return float(Fraction(ways, 2**n))


def wilson_slowly(right: int, n: int) -> tuple[float, float]:
    """By bisection from the definition: where a true share is just so far from the observed one as z allows."""

    def end(outside: float) -> float:
        inside, share = right / n, right / n
        for _ in range(100):
            middle = (inside + outside) / 2
            if (share - middle) ** 2 <= Z**2 * middle * (1 - middle) / n:
                inside = middle
            else:
                outside = middle
        return inside

    return end(0.0), end(1.0)


def interval_slowly(answers: list[tuple[bool, bool]]) -> tuple[float, float]:
    """Method 10 as the paper has it, for the first share less the second, from the pairs; then turned round."""
    n = len(answers)
    first, second = ([int(pair[k]) for pair in answers] for k in (0, 1))
    p2, p3 = sum(first) / n, sum(second) / n
    (l2, u2), (l3, u3) = wilson_slowly(sum(first), n), wilson_slowly(sum(second), n)
    phi = 0.0
    if 0 < sum(first) < n and 0 < sum(second) < n:
        phi = float(np.corrcoef(first, second)[0, 1])
        margins = math.sqrt(sum(first) * (n - sum(first)) * sum(second) * (n - sum(second)))
        phi = max(phi - n / 2 / margins, 0.0) if phi > 0 else phi
    dl2, du2, dl3, du3 = p2 - l2, u2 - p2, p3 - l3, u3 - p3
    delta = math.sqrt(dl2**2 - 2 * phi * dl2 * du3 + du3**2)
    epsilon = math.sqrt(du2**2 - 2 * phi * du2 * dl3 + dl3**2)
    return -(p2 - p3 + epsilon), -(p2 - p3 - delta)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Fagerland, Lydersen & Laake 2017, chapter 8: complete response before and after therapy (Cavo et al. 2012).
        ((59, 16, 6, 80), (-0.1186, -0.0046)),
        # Newcombe 1998, with the shares turned round: 36 both, 12 and 2 discordant, 0 neither.
        ((36, 12, 2, 0), (-0.3404, -0.0569)),
    ],
)
def test_the_interval_is_the_published_one(counts: tuple[int, int, int, int], expected: tuple[float, float]) -> None:
    assert difference(*counts).interval == pytest.approx(expected, abs=5e-5)


def test_the_interval_of_models_that_never_differ_is_by_hand() -> None:
    """54 of 54 right, twice: Wilson has n / (n + z²) to 1, and φ is 0, so that the ends are ± z² / (n + z²)."""
    half = Z**2 / (54 + Z**2)
    found = difference(54, 0, 0, 0)
    assert found.value == 0
    assert found.interval == pytest.approx((-half, half), abs=1e-12)


def test_wilson_by_hand() -> None:
    """Of 5 in 10: 0.5 ± z √(0.25 / 10 + z² / 400) / (1 + z² / 10)."""
    half = Z * math.sqrt(0.025 + Z**2 / 400) / (1 + Z**2 / 10)
    assert wilson(5, 10) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)
    assert wilson(0, 10) == pytest.approx((0, Z**2 / (10 + Z**2)), abs=1e-12)


def test_phi_is_lessened_towards_zero_and_never_beyond() -> None:
    assert correlation(14, 5, 0, 22) == pytest.approx((308 - 20.5) / math.sqrt(19 * 22 * 14 * 27))
    assert correlation(5, 2, 2, 1) == 0  # 5 - 4 is positive, and below 10 / 2
    assert correlation(1, 5, 5, 1) == pytest.approx(-24 / 36)
    assert correlation(7, 3, 0, 0) == 0


@pytest.mark.parametrize("seed", range(40))
def test_both_are_their_slow_twins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet([3, 0.4, 0.4, 1])
    counts: list[int] = rng.multinomial(int(rng.integers(1, 120)), weights).tolist()
    both, first, second, neither = counts
    pairs = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    found = difference(both, first, second, neither)
    assert found.interval == pytest.approx(interval_slowly(pairs), abs=1e-9)
    assert found.value == pytest.approx(np.mean([int(b) - int(a) for a, b in pairs]))
    assert mcnemar(first, second) == pytest.approx(mcnemar_slowly(first, second), rel=1e-10)
    turned = difference(both, second, first, neither)
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=1e-12)


def test_a_p_of_many_pairs() -> None:
    assert mcnemar(400, 600) == pytest.approx(mcnemar_slowly(400, 600), rel=1e-8)


@pytest.mark.parametrize(
    ("shares", "at_most"),
    [((0.5, 0.2, 0.1, 0.2), 0.96), ((0.80, 0.10, 0.02, 0.08), 0.98), ((0.90, 0.03, 0.03, 0.04), 0.996)],
)
def test_the_interval_covers_the_true_difference(shares: tuple[float, float, float, float], at_most: float) -> None:
    """Over all tables of 40 examples, each as probable as it is; too often where models hardly differ, never less
    than it says but by a rounding of counts."""
    n, covered = 40, 0.0
    true = shares[2] - shares[1]
    logs = np.log(shares)
    for both in range(n + 1):
        for first in range(n + 1 - both):
            for second in range(n + 1 - both - first):
                counts = (both, first, second, n - both - first - second)
                log_ways = math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in counts)
                low, high = difference(*counts).interval
                covered += math.exp(log_ways + float(np.dot(counts, logs))) * (low <= true <= high)
    assert 0.945 <= covered <= at_most
