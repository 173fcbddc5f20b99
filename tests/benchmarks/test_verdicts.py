"""What may be said of a measured number: by hand, and against a slow twin on random numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from benchmarks.reproduction.model import Claim, Why
from benchmarks.reproduction.verdicts import Naive, explains, judge

NEAR = {0: 59.0, 1: 60.0, 2: 61.0}  # mean 60


def shifted(by: float, noise: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> dict[int, float]:
    return {seed: value + by + noise[seed] for seed, value in NEAR.items()}


@pytest.mark.parametrize(
    ("claim", "own", "naive", "expected"),
    [
        (Claim(60.0), shifted(3.0), None, "baseline agrees"),
        (Claim(60.0), shifted(3.1), None, "differs, not explained"),
        (Claim(60.0, sd=2.0), shifted(4.0), None, "baseline agrees"),  # 2 sd are more than 3 points
        (Claim(98.15), {0: 95.15}, None, "baseline agrees"),  # 3.0000000000000142 in floats
        (Claim(65.0), shifted(4.0), 60.0, "reproduced"),
        (Claim(65.0), shifted(1.9), 60.0, "differs, not explained"),  # apart from naive, but 3.1 away
        (
            Claim(62.0),
            shifted(0.5, (9.0, -9.0, 0.0)),
            60.0,
            "too few seeds to tell",
        ),  # it may be as published, or nothing
        (Claim(63.0), shifted(0.5, (1.0, -1.0, 0.0)), 60.0, "inert"),  # within, but seeds explain it
        (Claim(62.0), shifted(0.0), 60.0, "inert"),
        (Claim(62.0), shifted(-0.9), 60.0, "differs, not explained"),  # within, but worse than nothing
        (Claim(58.0), shifted(-1.5), 60.0, "reproduced"),  # a gap downward
        (Claim(90.0), shifted(0.0), 60.0, "inert"),  # outside, and nothing happens
        (Claim(60.9), shifted(0.9), 60.0, "floor"),
        (Claim(60.9), shifted(1.0), 60.0, "differs, not explained"),  # no gap was published, one is measured
        (Claim(61.0), shifted(1.0), 60.0, "reproduced"),  # a gap of 1 is one
        (Claim(70.5), shifted(0.0), 70.0, "differs, not explained"),  # nil, but elsewhere
        (Claim(65.0), {0: 65.0, 1: 64.0}, 60.0, "not measured yet"),  # two seeds tell nothing
        (Claim(50.0, sense="below"), {0: 49.9}, 60.0, "bound holds"),
        (Claim(50.0, sense="below"), {0: 51.0}, None, "differs, not explained"),
        (Claim(88.0, sense="above"), {0: 88.0}, None, "differs, not explained"),
        (Claim(0.0, sense="exactly"), {0: 0.0}, None, "bound holds"),
        (Claim(0.0, sense="exactly"), {0: 0.01}, None, "differs, not explained"),
        (None, {0: 12.0}, 60.0, "no claim"),
    ],
)
def test_by_hand(claim: Claim | None, own: Mapping[int, float], naive: float | None, expected: str) -> None:
    assert judge(claim, own, None if naive is None else Naive(Claim(naive), NEAR)).kind == expected


def test_against_a_slow_twin_on_random_numbers() -> None:
    rng, seen = np.random.default_rng(0), set()
    for _ in range(2000):
        published, bare = 60 + rng.normal(0, 3), 60 + rng.normal(0, 1)
        n = int(rng.integers(3, 8))
        naive = {seed: float(value) for seed, value in enumerate(60 + rng.normal(0, 1, n))}
        shift, spread = rng.normal(0, 3), rng.choice([0.1, 3.0])
        own = {seed: naive[seed] + shift + float(rng.normal(0, spread)) for seed in range(n)}
        said = judge(Claim(published), own, Naive(Claim(bare), naive))
        assert said.kind == _slowly(published, bare, list(own.values()), list(naive.values()))
        if said.kind == "reproduced":
            pairs = stats.ttest_1samp([own[seed] - naive[seed] for seed in naive], published - bare)
            assert (said.beside != "") == (pairs.pvalue < 0.05)
            assert said.beside in ("", f"the published gap is {published - bare:+.2f}")
        seen.add(said.kind)
    assert seen == {"reproduced", "inert", "too few seeds to tell", "floor", "differs, not explained"}


@pytest.mark.parametrize(
    ("gap", "published", "is_borne_out"),
    [
        (4.0, 64.0, True),
        (4.0, 65.0, False),  # it acts, near the published number, but by less than was published
        (6.0, 64.0, True),  # by more
        (-4.0, 56.0, True),
        (-4.0, 55.0, False),
        (0.0, 62.0, False),  # it does not act
        (0.2, 60.2, False),  # nothing was published that it could do
    ],
)
def test_a_better_strength_was_found_only_where_the_source_s_own_does_no_less(
    gap: float, published: float, is_borne_out: bool
) -> None:
    why = Why("a better strength", ("t/published",), "surpassed")
    own = {seed: value + 20 + seed / 10 for seed, value in NEAR.items()}
    assert explains(why, Claim(published), own, {"t/published": shifted(gap)}, Naive(Claim(60.0), NEAR)) == is_borne_out


def _slowly(published: float, bare: float, own: list[float], naive: list[float]) -> str:
    """By scipy's paired test, sentence by sentence."""
    within = abs(sum(own) / len(own) - published) <= 3
    measured = sum(a - b for a, b in zip(own, naive, strict=True)) / len(own)
    if abs(published - bare) < 1:
        return "floor" if within and abs(measured) < 1 else "differs, not explained"
    if stats.ttest_rel(own, naive).pvalue >= 0.05:
        gaps = [a - b for a, b in zip(own, naive, strict=True)]
        return "inert" if stats.ttest_1samp(gaps, published - bare).pvalue < 0.05 else "too few seeds to tell"
    same_side = (measured > 0 and published > bare) or (measured < 0 and published < bare)
    return "reproduced" if within and same_side else "differs, not explained"
