"""Every ingredient conforms."""

from __future__ import annotations

import pytest

from cfsweep.training.ingredients import registry
from tests.training.conformance import IngredientConformance


@pytest.fixture(params=sorted(registry))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestIngredients(IngredientConformance):
    pass
