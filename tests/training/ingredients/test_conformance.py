"""Every ingredient conforms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cfsweep.testing import CHECKS
from cfsweep.training.ingredients import registry


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(registry))
def test_every_ingredient_conforms(name: str, check: Callable[[str], None]) -> None:
    check(name)
