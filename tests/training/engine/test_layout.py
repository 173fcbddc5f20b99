"""The flat form of a network's parameters."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import SHAPE
from cfsweep.training.engine.layout import Layout
from cfsweep.training.networks import build, registry


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("name", sorted(registry))
def test_flatten_and_unflatten_are_inverse(name: str, lead: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = build(NetworkConfig(name=name), SHAPE, 6)
    layout = Layout(module, 6)
    assert layout.size == sum(p.numel() for p in module.parameters())
    parameters = {k: torch.randn(*lead, *p.shape) for k, p in module.named_parameters()}
    theta = layout.flatten(parameters)
    assert theta.shape == (*lead, layout.size)
    back = layout.unflatten(theta)
    assert list(back) == list(parameters)
    for key, value in parameters.items():
        assert torch.equal(back[key], value)
        assert back[key].untyped_storage().data_ptr() == theta.untyped_storage().data_ptr()
    assert torch.equal(layout.flatten(back, out=torch.empty_like(theta)), theta)


@pytest.mark.parametrize("name", sorted(registry))
def test_head_rows_are_the_rows_of_the_output_layer(name: str) -> None:
    module = build(NetworkConfig(name=name), SHAPE, 6)
    layout = Layout(module, 6)
    numbers = torch.arange(1.0, 7.0)
    for values in (numbers, torch.stack([numbers, -numbers])):
        spread = torch.zeros(*values.shape[:-1], layout.size)
        for where, factor in layout.head_rows(values):
            spread[..., where] = factor
        for key, piece in layout.unflatten(spread).items():
            if key == "head.weight":
                assert torch.equal(piece, values.unsqueeze(-1).expand(piece.shape))
            else:
                assert torch.equal(piece, values if key == "head.bias" else torch.zeros_like(piece))


def test_matrices_and_kernels_outside_the_head_are_prunable() -> None:
    layout = Layout(build(NetworkConfig(name="cnn"), SHAPE, 6), 6)
    prunable = [entry.name for entry in layout.entries if entry.prunable]
    assert prunable == ["body.0.weight", "body.2.weight", "body.6.weight"]
