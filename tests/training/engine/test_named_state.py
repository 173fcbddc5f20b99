"""States by the names of parameters: each number lies where the parameter's does, and comes back to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.named_state import from_named, to_named


def network() -> nn.Module:
    frozen = nn.Linear(4, 4).requires_grad_(False)
    return nn.Sequential(nn.Linear(3, 4), frozen, nn.LayerNorm(4), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 5))


def test_a_state_of_weights_is_the_weights_by_name() -> None:
    model = network()
    layout = Layout(model, 5)
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    named = to_named(layout, {"anchor": layout.flatten(trained)})
    assert named.keys() == {f"anchor.{name}" for name in trained}
    assert all(torch.equal(named[f"anchor.{name}"], value) for name, value in trained.items())


@pytest.mark.parametrize("rows", [(), (3,)], ids=["one model", "three rows"])
def test_there_and_back(rows: tuple[int, ...]) -> None:
    layout = Layout(network(), 5)
    state = {
        "curvature": torch.randn(*rows, layout.size),
        "owner": torch.randint(9, (*rows, layout.size), dtype=torch.int16),
        "generator": torch.randn(*rows, 7),
        "best": torch.tensor(0.5),
    }
    named = to_named(layout, state)
    assert named["curvature.0.weight"].shape == (*rows, 4, 3)
    assert named["generator"] is state["generator"]
    again = from_named(layout, dict(reversed(named.items())))
    assert again.keys() == state.keys()
    for name, value in state.items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value)


def test_a_state_that_lacks_a_parameter_is_none() -> None:
    layout = Layout(network(), 5)
    named = to_named(layout, {"anchor": torch.zeros(layout.size)})
    del named["anchor.2.bias"]
    with pytest.raises(KeyError, match=r"2\.bias"):
        from_named(layout, named)
