"""Every ingredient conforms, and every two of them compose or are refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from cfsweep.config import SCENARIOS
from cfsweep.testing import CHECKS, compose_or_are_refused, finish, make_pack, small_stream
from cfsweep.testing.ingredients import OPTIMIZERS
from cfsweep.testing.packs import assert_same, off_values, trained_once, variants
from cfsweep.testing.pairs import exclude_each_other
from cfsweep.training.ingredients import family_of, registry
from cfsweep.training.ingredients._base import pieces_of

PAIRS = list(itertools.combinations(sorted(registry), 2))


def shared_scenarios(one: str, other: str) -> list[str]:
    return [s for s in SCENARIOS if s in registry[one].scenarios and s in registry[other].scenarios]


def shows(pair: tuple[str, str]) -> set[tuple[str, str]]:
    """What a pair tries: that they are refused, or each one's pieces beside the family of the other one."""
    kinds = [registry[name] for name in pair]
    families = [family_of(kind) for kind in kinds]
    tried = {("is tried", name) for name in pair}
    if exclude_each_other(*kinds) or not shared_scenarios(*pair):
        return tried | {("are refused", "")}
    beside = zip(kinds, families[::-1], strict=True)
    return tried | {(piece.__name__, family) for kind, family in beside for piece in pieces_of(kind)}


def sample() -> set[tuple[str, str]]:
    """Few pairs that together show all that any pairs show: those that are tried with every change."""
    left, chosen = set().union(*map(shows, PAIRS)), set()
    while left:
        most = max(PAIRS, key=lambda pair: len(shows(pair) & left))
        chosen.add(most)
        left -= shows(most)
    return chosen


SAMPLE = sample()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(registry))
def test_every_ingredient_conforms(name: str, check: Callable[[str], None]) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(registry))
def test_in_every_scenario_with_every_optimizer_off_is_naive_and_a_seed_says_all(name: str) -> None:
    kind = registry[name]
    for scenario, optimizer in itertools.product(kind.scenarios, OPTIMIZERS):
        given: dict[str, Any] = {"optimizer": optimizer, "weight_decay": 0.01}
        for off in off_values(kind):
            switched_off = finish(make_pack(small_stream(), (name,), scenario=scenario, **given, **off))
            assert_same(switched_off, trained_once((), scenario, **given))
        for choice in variants(kind):
            one, two = (finish(make_pack(small_stream(), (name,), scenario=scenario, **given, **choice)) for _ in "12")
            assert_same(one, two)
            assert one.records[0].failure is None


def number_and_pair(number: int, pair: tuple[str, str]) -> object:
    return pytest.param(number, pair, id="+".join(pair), marks=[] if pair in SAMPLE else pytest.mark.slow)


@pytest.mark.parametrize(("number", "pair"), list(itertools.starmap(number_and_pair, enumerate(PAIRS))))
def test_two_compose_or_are_refused(number: int, pair: tuple[str, str]) -> None:
    """Optimizers and scenarios take turns: with all of them, the pairs would take many minutes."""
    shared = shared_scenarios(*pair)
    scenario = shared[number // 2 % len(shared)] if shared else None
    compose_or_are_refused(*pair, ("sgd", "adamw")[number % 2], scenario)


def test_the_sample_is_small_and_has_every_ingredient_and_pairs_that_are_refused() -> None:
    assert {name for pair in SAMPLE for name in pair} == registry.keys()
    assert len(SAMPLE) < len(PAIRS) / 2
    assert any(("are refused", "") in shows(pair) for pair in SAMPLE)
