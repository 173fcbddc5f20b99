"""Means of absolute per-example gradients of the squared outputs, each way against plain autograd.

Those of squared gradients of the log-likelihood: test_ewc.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import CNN, MLP, SHAPE, make_pack, small_stream
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.per_example import (
    SQUARED_NORM,
    _by_output_gradients,
    _by_products,
    _by_vmap,
    _looped,
    mean_gradient_size,
)
from cfsweep.training.networks import build
from tests.training.helpers import random_examples, sensitivity_by_hand

Way = Callable[..., Callable[..., Tensor]]


@pytest.mark.parametrize(
    ("way", "network"),
    [
        (_by_output_gradients, MLP),
        (_by_products, MLP),
        (_by_vmap, MLP),
        (_looped, MLP),
        (_by_vmap, CNN),
        (_looped, CNN),
    ],
    ids=lambda v: v.name if isinstance(v, NetworkConfig) else v.__name__,
)
def test_each_way_gives_the_mean_of_absolute_gradients(
    way: Way, network: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfsweep.training.engine.per_example.CHUNK_BYTES", 3 * 4 * 700)  # a few examples at once
    module = build(network, SHAPE, 6)
    layout = Layout(module, 6)
    sensitivity = way(Lifted(module, True), layout, SQUARED_NORM, torch.abs)
    for seed in range(3):
        torch.manual_seed(seed)
        theta, examples = 0.3 * torch.randn(layout.size), random_examples(10, seed)
        expected = sensitivity_by_hand(module, layout, theta, examples.x, examples.mask)
        found = sensitivity(theta, examples.x, examples.labels, examples.mask)
        torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-6)
        # Signs differ between examples: to take the absolute value of the mean would be another thing.
        assert (expected > 1.01 * sensitivity_of_the_mean(module, layout, examples.x, examples.mask)).any()


def sensitivity_of_the_mean(module: nn.Module, layout: Layout, x: Tensor, mask: Tensor) -> Tensor:
    module.zero_grad()
    (module(x)[mask].square().sum() / len(x)).backward()
    return layout.flatten({n: p.grad.abs() for n, p in module.named_parameters() if p.grad is not None})


@pytest.mark.parametrize("way", [_by_output_gradients, _by_products, _by_vmap, _looped], ids=lambda f: f.__name__)
def test_by_hand(way: Way) -> None:
    """One layer, f(x) = Wx + b with W = ((1, 2), (3, -1)), b = (0, 1); d Σf²/dW_ij = 2 f_i x_j, d/db_i = 2 f_i.

    x = (1, -1) has f = (-1, 5), all active: |2 f xᵀ| = ((2, 2), (10, 10)), |2 f| = (2, 10). x = (2, 0) has f = (2, 7),
    only the first active: ((8, 0), (0, 0)) and (4, 0). The means: ((5, 1), (5, 5)) and (3, 5).
    """
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    layout = Layout(module, 2)
    theta = layout.flatten({"1.weight": torch.tensor([[1.0, 2.0], [3.0, -1.0]]), "1.bias": torch.tensor([0.0, 1.0])})
    x, mask = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([[True, True], [True, False]])
    sensitivity = way(Lifted(module, True), layout, SQUARED_NORM, torch.abs)
    found = layout.unflatten(sensitivity(theta, x, torch.zeros(2, dtype=torch.int64), mask))
    assert found["1.weight"].tolist() == [[5.0, 1.0], [5.0, 5.0]]
    assert found["1.bias"].tolist() == [3.0, 5.0]


def test_only_active_outputs_count() -> None:
    logits, labels = torch.tensor([[1.0, 2.0, torch.inf], [3.0, 5.0, torch.nan]]), torch.tensor([0, 0])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert SQUARED_NORM.value(logits, labels, mask).item() == 1 + 4 + 9


@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_the_context_offers_it_lifted_over_runs(network: NetworkConfig) -> None:
    pack = make_pack(small_stream(), ("mas",), network=network)
    context, module = pack.context.ingredients[0].context, pack.context.lifted.module
    theta, several = 0.3 * torch.randn(2, pack.context.layout.size), [random_examples(6, seed) for seed in range(2)]
    x, mask = (torch.stack([getattr(examples, part) for examples in several]) for part in ("x", "mask"))
    lifted = torch.func.vmap(context.output_sensitivity)(theta, x, mask)
    for row in range(2):
        expected = sensitivity_by_hand(module, pack.context.layout, theta[row], x[row], mask[row])
        torch.testing.assert_close(lifted[row], expected, rtol=2e-4, atol=1e-6)
        chosen = mean_gradient_size(pack.context.lifted, pack.context.layout, SHAPE, SQUARED_NORM, torch.abs)
        alone = chosen(theta[row], x[row], several[row].labels, mask[row])
        torch.testing.assert_close(alone, expected, rtol=2e-4, atol=1e-6)
