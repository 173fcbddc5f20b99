"""A-GEM: its projection by hand, a whole run against a plain loop, and what it promises of each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.testing import make_pack, small_stream, twins_agree, values_of
from cfsweep.training.ingredients import registry
from cfsweep.training.spec import RunSpec
from tests.training.helpers import PlainReservoir


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    return a_gem_once.project(gradient, reference, {"a_gem_buffer": torch.tensor(9.0)})


@pytest.mark.parametrize(
    ("g", "r", "expected"),
    [
        ([1.0, 2.0], [3.0, -4.0], [1.6, 1.2]),  # g·r = -5, r·r = 25: g + 0.2 r
        ([1.0, 2.0], [3.0, 4.0], [1.0, 2.0]),  # g·r = 11
        ([4.0, 3.0], [3.0, -4.0], [4.0, 3.0]),  # g·r = 0
        ([1.0, -2.0], [-2.0, 4.0], [0.0, 0.0]),  # straight against it
        ([1.0, 2.0], [0.0, 0.0], [1.0, 2.0]),  # nothing drawn
        ([-1.0, 0.0], [1e-30, 0.0], [-1.0, 0.0]),  # r·r is less than the smallest float
    ],
)
def test_projection_by_hand(g: list[float], r: list[float], expected: list[float]) -> None:
    torch.testing.assert_close(projected(torch.tensor(g), torch.tensor(r)), torch.tensor(expected))


@pytest.mark.parametrize("seed", range(5))
def test_projection_is_the_nearest_gradient_that_does_no_harm(seed: int) -> None:
    """Eq. 10, against a search along r: none of the gradients with g̃·r >= 0 is nearer to g."""
    draw = torch.Generator().manual_seed(seed)
    g, r = torch.randn(2, 50, generator=draw, dtype=torch.float64)
    r = r if g @ r < 0 else -r
    found = projected(g, r)
    assert abs(found @ r) < 1e-12
    for _ in range(200):
        other = found + 0.1 * torch.randn(50, generator=draw, dtype=torch.float64)
        if other @ r >= 0:
            assert (other - g).norm() >= (found - g).norm()
    together = torch.func.vmap(projected)(torch.stack([g, g]), torch.stack([r, -r]))
    torch.testing.assert_close(together, torch.stack([found, g]))


class PlainAGem(PlainReservoir):
    """Two backward passes and one projection a step."""

    buffer_hyper = "a_gem_buffer"
    n_projected = 0

    def gradient(self, indices: NDArray[np.int64], learned: int) -> list[Tensor]:
        return list(torch.autograd.grad(self.batch_loss(indices, learned), list(self.network.parameters())))

    def train_task(self, number: int) -> None:
        optimizer = self.optimizer()
        parts = self.batches_of(number)
        for batch, draw in zip(parts, self.draws(number, int(self.values["batch_size"])), strict=True):
            gradient = self.gradient(batch, number + 1)
            if self.buffer:
                reference = self.gradient(np.array(self.buffer)[draw], number + 1)
                along = sum(float((g * r).sum()) for g, r in zip(gradient, reference, strict=True))
                if along < 0:
                    share = along / sum(float((r * r).sum()) for r in reference)
                    gradient = [g - share * r for g, r in zip(gradient, reference, strict=True)]
                    self.n_projected += 1
            for parameter, g in zip(self.network.parameters(), gradient, strict=True):
                parameter.grad = g
            optimizer.step()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", range(2))
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int) -> None:
    run = RunSpec(0, seed, values_of(("a-gem",), optimizer="sgd", lr=0.02, a_gem_buffer=9))
    pack, plain = twins_agree(("a-gem",), PlainAGem, small_stream(seed=seed), run, scenario, atol=5e-6)
    assert isinstance(plain, PlainAGem)
    assert plain.n_projected > 0
    assert pack.stack.buffers["a-gem"][0].indices.tolist() == plain.buffer
    assert pack.records[0].stored_bytes == 9 * 36 * 4


class PlainAGemFrozen(PlainAGem):
    """After the first task the lowest layer does not move, so its gradients are none."""

    def gradient(self, indices: NDArray[np.int64], learned: int) -> list[Tensor]:
        gradient = super().gradient(indices, learned)
        return gradient if learned == 1 else [torch.zeros_like(g) for g in gradient[:2]] + gradient[2:]


def test_weights_that_are_held_still_have_no_say() -> None:
    names = ("a-gem", "freeze")
    run = RunSpec(0, 0, values_of(names, optimizer="sgd", lr=0.02, a_gem_buffer=9, freeze_depth=1))
    _, plain = twins_agree(names, PlainAGemFrozen, small_stream(), run, "domain-il", atol=5e-6)
    assert isinstance(plain, PlainAGemFrozen)
    assert plain.n_projected > 0


@pytest.mark.parametrize("value", [-1, 2.5])
def test_values_outside_the_rules_are_refused(value: float) -> None:
    (hyper,) = registry["a-gem"].hypers
    with pytest.raises(InputError, match=f"`0 <= a_gem_buffer, .*` must hold, but got a_gem_buffer={value}"):
        hyper.check(value, "space.yaml")


(a_gem_once,) = make_pack(small_stream(), ("a-gem",)).context.ingredients
