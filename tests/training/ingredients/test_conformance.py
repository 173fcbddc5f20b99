"""Every ingredient conforms, and every two of them compose or are refused."""

from __future__ import annotations

import itertools

import pytest

from cfsweep.config import SCENARIOS
from cfsweep.errors import InputError
from cfsweep.training.ingredients import registry
from cfsweep.testing.packs import IngredientConformance, check_composition, make_pack, small_stream


@pytest.fixture(params=sorted(registry))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestIngredients(IngredientConformance):
    pass


PAIRS = list(itertools.combinations(sorted(registry), 2))


@pytest.mark.parametrize(("number", "pair"), list(enumerate(PAIRS)), ids=["+".join(pair) for pair in PAIRS])
def test_two_compose_or_are_refused(number: int, pair: tuple[str, str]) -> None:
    """Optimizers and scenarios take turns: with all of them, the pairs alone would take minutes."""
    shared = [s for s in SCENARIOS if all(s in registry[name].scenarios for name in pair)]
    optimizer = ("sgd", "adamw")[number % 2]
    if shared:
        check_composition(*pair, small_stream(), optimizer, shared[number // 2 % len(shared)])
        return
    for scenario in SCENARIOS:
        with pytest.raises(InputError, match="works in"):
            make_pack(small_stream(), pair, scenario=scenario)
