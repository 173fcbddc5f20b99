"""Means of absolute per-example gradients of the squared outputs, each way against plain autograd.

Those of squared gradients of the log-likelihood: test_ewc.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import CNN, MLP, SHAPE, make_pack, small_stream
from cfsweep.training.engine import per_example
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
N_FEATURES = math.prod(SHAPE)


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


class Base(nn.Module):
    """Three linear layers; what others do with them beside shows in no list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(N_FEATURES, 8), nn.Linear(8, 8), nn.Linear(8, 6)

    def middle(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b(torch.tanh(self.a(x.flatten(1)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(x))  # type: ignore[no-any-return]


class UsedByAFunctionToo(Base):
    def middle(self, x: Tensor) -> Tensor:
        return torch.tanh(nn.functional.linear(super().middle(x), self.b.weight))


class CalledTwiceBesideASpare(Base):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(8, 8)

    def middle(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b(super().middle(x)))


class ByKeyword(Base):
    def middle(self, x: Tensor) -> Tensor:
        return torch.tanh(self.a(input=x.flatten(1)))


class Penalised(Base):
    """Its output depends on a weight itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.b.weight.mean()


def hooked() -> nn.Module:
    module = Base()
    module.b.register_forward_hook(lambda _m, _a, output: 3 * output)
    return module


def normed() -> nn.Module:
    module = Base()
    nn.utils.parametrizations.weight_norm(module.b)
    return module


def sequential(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(N_FEATURES, 8), *middle, nn.Linear(8, 6))


def tied() -> nn.Module:
    one, other = nn.Linear(8, 8), nn.Linear(8, 8)
    other.weight = one.weight
    return sequential(nn.ReLU(), one, nn.ReLU(), other, nn.ReLU())


def twice() -> nn.Module:
    again = nn.Linear(8, 8)
    return sequential(nn.ReLU(), again, nn.ReLU(), again, nn.ReLU())


def one_relu() -> nn.Module:
    relu = nn.ReLU()
    return sequential(relu, nn.Linear(8, 8), relu, nn.Linear(8, 8), relu)


UNUSUAL = [
    UsedByAFunctionToo,
    CalledTwiceBesideASpare,
    ByKeyword,
    Penalised,
    hooked,
    normed,
    tied,
    twice,
    one_relu,
]


@pytest.mark.parametrize("build_it", UNUSUAL, ids=lambda f: f.__name__)
def test_what_a_network_does_beside_its_layers_is_not_overlooked(build_it: Callable[[], nn.Module]) -> None:
    """Outputs and per-example gradients are those of plain autograd, whichever way is taken."""
    torch.manual_seed(0)
    module = build_it()
    layout, lifted = Layout(module, 6), Lifted(module, True)
    theta, examples = 0.3 * torch.randn(layout.size), random_examples(10)
    stacked = {name: value.unsqueeze(0) for name, value in layout.unflatten(theta).items()}
    before = copy.deepcopy(module)
    answers = lifted(stacked, examples.x, shared=True)[0]
    sensitivity = mean_gradient_size(lifted, layout, SHAPE, SQUARED_NORM, torch.abs)
    expected = sensitivity_by_hand(module, layout, theta, examples.x, examples.mask)
    found = sensitivity(theta, examples.x, examples.labels, examples.mask)
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=1e-6)
    torch.testing.assert_close(answers, module(examples.x), rtol=1e-4, atol=1e-5)  # which has the weights `theta` now
    assert [name for name, _ in module.named_parameters()] == [name for name, _ in before.named_parameters()]


def test_plain_networks_go_the_fast_way() -> None:
    assert Lifted(one_relu(), True).stack is not None
    lifted = Lifted(Base(), True)
    assert lifted.stack is None
    assert per_example._only_linear(lifted, Layout(lifted.module, 6), SHAPE)
