"""EWC against the textbook: one model, one anchor per task, one example at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import CNN, MLP, SHAPE, make_pack, small_stream
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.per_example import (
    _by_output_gradients,
    _by_products,
    _by_vmap,
    _looped,
    log_likelihood_of,
    mean_gradient_size,
)
from cfsweep.training.ingredients import Examples, State
from cfsweep.training.ingredients.ewc import EWC
from cfsweep.training.networks import build
from cfsweep.training.targets.classification import Classification
from tests.training.helpers import random_examples

KINDS = ("true", "predicted", "empirical")
VALUES = {"ewc_lambda": torch.tensor(3.0), "ewc_gamma": torch.tensor(1.0)}


def ewc_of(network: NetworkConfig = MLP, **settings: str) -> tuple[EWC, nn.Module]:
    pack = make_pack(small_stream(), ("ewc",), network=network, **{f"ewc_{k}": v for k, v in settings.items()})
    (ewc,) = pack.context.ingredients
    assert isinstance(ewc, EWC)
    return ewc, pack.context.lifted.module


def by_hand(module: nn.Module, layout: Layout, theta: Tensor, examples: Examples, kind: str) -> Tensor:
    """The Fisher diagonal, by the definition: plain autograd, one example at a time."""
    with torch.no_grad():
        for name, piece in layout.unflatten(theta).items():
            module.get_parameter(name).copy_(piece)
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for x, label, mask, uniform, _ in zip(*examples, strict=True):
        module.zero_grad()
        logits = module(x.unsqueeze(0))[0]
        active = mask.nonzero().flatten().tolist()
        p = torch.softmax(logits[active], 0)
        if kind == "predicted":
            label = active[int(p.argmax())]
        elif kind == "true":
            place = int(np.searchsorted(p.detach().cumsum(0).numpy(), float(uniform), side="right"))
            label = active[min(place, len(active) - 1)]
        p.log()[active.index(int(label))].backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            total[name] += parameter.grad.square()
    return layout.flatten({name: value / len(examples.x) for name, value in total.items()})


def fisher_of(ewc: EWC, theta: Tensor, examples: Examples) -> Tensor:
    """The curvature after one task."""
    return ewc.consolidate(theta, ewc.initial_state(theta), VALUES, 0, examples)["curvature"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_fisher_is_the_mean_of_squared_per_example_gradients(network: NetworkConfig, kind: str) -> None:
    ewc, module = ewc_of(network, fisher=kind)
    torch.manual_seed(5)
    for seed in range(3):
        theta = 0.2 * torch.randn(ewc.context.layout.size)
        examples = random_examples(11, seed)
        expected = by_hand(module, ewc.context.layout, theta, examples, kind)
        torch.testing.assert_close(fisher_of(ewc, theta, examples), expected, rtol=2e-4, atol=1e-7)
        several = theta[None], Examples(*(part[None] for part in examples))
        lifted = torch.func.vmap(lambda t, e: fisher_of(ewc, t, e))(*several)[0]
        torch.testing.assert_close(lifted, expected, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("strategy", [_by_output_gradients, _by_products, _by_vmap, _looped], ids=lambda f: f.__name__)
def test_three_ways_to_the_same_squares(
    strategy: Callable[..., Callable[..., Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfsweep.training.engine.per_example.CHUNK_BYTES", 3 * 4 * 700)  # a few examples at once
    ewc, module = ewc_of()
    layout, examples = ewc.context.layout, random_examples(10)
    theta = 0.3 * torch.randn(layout.size)
    squares = strategy(Lifted(module, True), layout, log_likelihood_of(Classification()), torch.square)(
        theta, examples.x, examples.labels, examples.mask
    )
    expected = by_hand(module, layout, theta, examples, "empirical")
    torch.testing.assert_close(squares, expected, rtol=2e-4, atol=1e-7)


def test_the_way_fits_the_network() -> None:
    def way(module: nn.Module, shape: tuple[int, ...], liftable: bool = True) -> str:
        chosen = mean_gradient_size(
            Lifted(module, liftable), Layout(module, 6), shape, log_likelihood_of(Classification()), torch.square
        )
        return chosen.__qualname__.partition(".")[0]

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.inner(self.inner(x)))
            return out

    assert way(build(MLP, SHAPE, 6), SHAPE) == "_by_output_gradients"
    assert way(build(MLP, SHAPE, 6), SHAPE, liftable=False) == "_looped"
    by_trial = "mean_gradient_size"  # by vmap, or a loop where that cannot take several examples
    assert way(build(CNN, SHAPE, 6), SHAPE) == by_trial
    assert way(Twice(), (4,)) == by_trial, "a layer that is called twice has more than one δ"
    assert way(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 6)), (4,)) == by_trial
    assert way(nn.Sequential(nn.Linear(4, 6), nn.Flatten(), nn.Linear(18, 6)), (3, 4)) == by_trial, (
        "linear layers over sequences"
    )


def with_fisher(ewc: EWC, fisher: Tensor) -> EWC:
    """It finds this one, whatever the examples."""
    ewc.context = replace(ewc.context, squared_gradients=lambda *_: fisher)
    return ewc


def collapsed(theta: Tensor, state: State, strength: float) -> Tensor:
    """The penalty (scalar) that a state stands for."""
    return 0.5 * strength * (state["curvature"] * (theta - state["centre"]).square()).sum()


def anchors(ewc: EWC, n: int, gamma: float) -> tuple[list[tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """(F_k, θ*_k) of `n` tasks, some F being 0, and the ingredient's state after them."""
    torch.manual_seed(n)
    size = ewc.context.layout.size
    state = ewc.initial_state(torch.zeros(size))
    kept = []
    values = {"ewc_lambda": torch.tensor(3.0), "ewc_gamma": torch.tensor(gamma)}
    for task in range(n):
        theta, fisher = torch.randn(size), torch.rand(size) * (torch.rand(size) > 0.3)
        state = with_fisher(ewc, fisher).consolidate(theta, state, values, task, random_examples(1))
        kept.append((fisher, theta))
    return kept, state


@pytest.mark.parametrize("n", [1, 2, 5])
def test_separate_is_the_sum_over_anchors(n: int) -> None:
    ewc, _ = ewc_of()
    kept, state = anchors(ewc, n, gamma=0.5)  # gamma has no say here
    values = {"ewc_lambda": torch.tensor(3.0), "ewc_gamma": torch.tensor(0.5)}

    def textbook(theta: Tensor) -> Tensor:
        return sum((0.5 * 3.0 * (f * (theta - centre).square()).sum() for f, centre in kept), torch.zeros(()))

    theta = torch.randn(ewc.context.layout.size, requires_grad=True)
    (expected,) = torch.autograd.grad(textbook(theta), theta)
    torch.testing.assert_close(ewc.gradient(theta.detach(), state, values), expected, rtol=1e-4, atol=1e-5)
    (own,) = torch.autograd.grad(collapsed(theta, state, 3.0), theta)
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the penalty itself, up to a constant
        apart = [collapsed(t, state, 3.0) - textbook(t) for t in torch.randn(3, len(theta))]
    torch.testing.assert_close(apart[0], apart[1], rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(apart[0], apart[2], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(("n", "gamma"), list(itertools.product([1, 2, 5], [0.0, 0.7, 1.0])))
def test_online_decays_old_curvature_around_the_latest_weights(n: int, gamma: float) -> None:
    ewc, _ = ewc_of(mode="online")
    kept, state = anchors(ewc, n, gamma)
    curvature = sum((gamma ** (n - 1 - k) * f for k, (f, _) in enumerate(kept)), torch.zeros(()))
    values = {"ewc_lambda": torch.tensor(3.0), "ewc_gamma": torch.tensor(gamma)}
    theta = torch.randn(ewc.context.layout.size, requires_grad=True)
    penalty = 0.5 * 3.0 * (curvature * (theta - kept[-1][1]).square()).sum()
    (expected,) = torch.autograd.grad(penalty, theta)
    torch.testing.assert_close(ewc.gradient(theta.detach(), state, values), expected, rtol=1e-4, atol=1e-5)


def test_penalty_by_hand() -> None:
    """Two parameters: anchors (F, θ*) = ((2, 1), (1, 0)) and ((2, 3), (3, 4)); λ = 10, at θ = (0, 1).

    Gradient: 10·(2(0-1) + 2(0-3), 1(1-0) + 3(1-4)) = (-80, -80). The collapsed anchor is ((4, 4), (2, 3)), whose
    penalty is 5·(4·4 + 4·4) = 160; the two anchors have 5·(2·1 + 1·1) + 5·(2·9 + 3·9) = 240: 80 more, always.
    """
    ewc, _ = ewc_of(fisher="empirical")
    state = {"curvature": torch.zeros(2), "centre": torch.zeros(2)}
    values = {"ewc_lambda": torch.tensor(10.0), "ewc_gamma": torch.tensor(1.0)}
    for fisher, centre in (([2.0, 1.0], [1.0, 0.0]), ([2.0, 3.0], [3.0, 4.0])):
        known = with_fisher(ewc, torch.tensor(fisher))
        state = known.consolidate(torch.tensor(centre), state, values, 0, random_examples(1))
    assert state["curvature"].tolist() == [4.0, 4.0]
    assert state["centre"].tolist() == [2.0, 3.0]
    theta = torch.tensor([0.0, 1.0])
    assert ewc.gradient(theta, state, values).tolist() == [-80.0, -80.0]
    assert collapsed(theta, state, 10.0).item() == 160.0
