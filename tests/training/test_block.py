"""Rows that step together, or one by one: the numbers are the same."""

from __future__ import annotations

import pytest

from cfsweep.testing.packs import assert_same, finish, make_pack, small_stream, varied_runs
from cfsweep.training import block
from cfsweep.training.ingredients import registry


@pytest.mark.parametrize("names", [(), *((name,) for name in registry), ("ewc", "replay")], ids="+".join)
def test_a_wide_network_goes_row_by_row_to_the_same_bits(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = finish(make_pack(small_stream(), names, varied_runs(names, 3, epochs=2), curves=1))
    monkeypatch.setattr(block, "BLOCK_FLOATS", 1)  # every network is wide
    assert_same(finish(make_pack(small_stream(), names, varied_runs(names, 3, epochs=2), curves=1)), together)
