"""Every ingredient conforms, and every two of them compose or are refused."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cfsweep.config import SCENARIOS
from cfsweep.testing import CHECKS, compose_or_are_refused, finish, make_pack, small_stream
from cfsweep.testing.ingredients import OPTIMIZERS
from cfsweep.testing.packs import assert_same, off_values, trained_once, variants
from cfsweep.training.ingredients import family_of, registry
from cfsweep.training.ingredients._base import pieces_of

PAIRS = list(itertools.combinations(sorted(registry), 2))
# Those that are tried with every change; the others are slow.
SAMPLE = {
    ("a-gem", "adapters"),
    ("a-gem", "cosine"),
    ("a-gem", "der++"),
    ("a-gem", "ewc"),
    ("a-gem", "feature-distillation"),
    ("a-gem", "forgetting-limit"),
    ("adapters", "discriminative-lr"),
    ("adapters", "early-stopping"),
    ("adapters", "lwf"),
    ("adapters", "packnet"),
    ("adapters", "si"),
    ("cosine", "generative-replay"),
    ("cosine", "packnet"),
    ("cosine", "si"),
    ("der++", "mas"),
    ("discriminative-lr", "forgetting-limit"),
    ("discriminative-lr", "l2-sp"),
    ("discriminative-lr", "lwf"),
    ("discriminative-lr", "replay"),
    ("early-stopping", "generative-replay"),
    ("early-stopping", "replay"),
    ("early-stopping", "si"),
    ("er-ace", "forgetting-limit"),
    ("er-ace", "freeze"),
    ("er-ace", "lwf"),
    ("er-ace", "packnet"),
    ("er-ace", "si"),
    ("er-ace", "warmup"),
    ("ewc", "packnet"),
    ("feature-distillation", "forgetting-limit"),
    ("feature-distillation", "generative-replay"),
    ("feature-distillation", "packnet"),
    ("feature-distillation", "si"),
    ("forgetting-limit", "warmup"),
    ("freeze", "replay"),
    ("generative-replay", "mas"),
    ("generative-replay", "packnet"),
    ("l2-sp", "replay"),
    ("lwf", "replay"),
    ("lwf", "warmup"),
}


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


def shared_scenarios(one: str, other: str) -> list[str]:
    return [s for s in SCENARIOS if s in registry[one].scenarios and s in registry[other].scenarios]


def composes(one: str, other: str) -> bool:
    excluded = other in registry[one].excludes or one in registry[other].excludes
    return not excluded and bool(shared_scenarios(one, other))


def meetings(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """(piece, family): an ingredient with the piece composes with one of another family."""
    return {
        (piece.__name__, family_of(registry[other]))
        for pair in pairs
        for one, other in (pair, pair[::-1])
        for piece in pieces_of(registry[one])
        if composes(one, other) and family_of(registry[one]) != family_of(registry[other])
    }


def test_in_the_sample_are_every_ingredient_and_each_piece_beside_every_other_family() -> None:
    assert set(PAIRS) >= SAMPLE
    times = Counter(name for pair in SAMPLE for name in pair)
    assert {name for name in registry if times[name] >= 2} == registry.keys()
    assert meetings(SAMPLE) == meetings(set(PAIRS))
    assert {composes(*pair) for pair in SAMPLE} == {True, False}, "some are to be refused"
