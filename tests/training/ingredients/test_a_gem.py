"""A-GEM: its projection by hand, a whole run against a plain loop, and what it promises of each step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training import batches
from cfsweep.training.ingredients import registry
from cfsweep.training.engine.randomness import generator
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from cfsweep.testing.packs import MLP, finish, make_pack, small_stream, values_of
from tests.training.test_whole_run import PlainLoop


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    return a_gem_once.project(gradient, reference, {"a_gem_buffer": torch.tensor(9.0)})


@pytest.mark.parametrize(
    ("g", "r", "expected"),
    [
        ([1.0, 2.0], [3.0, -4.0], [1.6, 1.2]),  # g·r = -5, r·r = 25: g + 0.2 r
        ([1.0, 2.0], [3.0, 4.0], [1.0, 2.0]),  # g·r = 11
        ([4.0, 3.0], [3.0, -4.0], [4.0, 3.0]),  # g·r = 0
        ([1.0, -2.0], [-2.0, 4.0], [0.0, 0.0]),  # straight against it
        ([1.0, 2.0], [0.0, 0.0], [1.0, 2.0]),  # nothing recalled
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


class PlainAGem(PlainLoop):
    """Two backward passes and one projection a step."""

    def __init__(self, stream: Stream, run: RunSpec, scenario: Scenario) -> None:
        in_batch: dict[str, Value] = {"replay_ratio": 0.0, "replay_buffer": run.values["a_gem_buffer"]}
        super().__init__(stream, replace(run, values={**run.values, **in_batch}), scenario, MLP, joint=False)
        self.n_projected = 0

    def gradient(self, indices: np.ndarray, learned: int) -> list[Tensor]:
        return list(torch.autograd.grad(self.batch_loss(indices, learned), list(self.network.parameters())))

    def train_task(self, number: int) -> None:
        v = self.values
        optimizer = torch.optim.SGD(self.network.parameters(), lr=float(v["lr"]), momentum=float(v["momentum"]))
        examples, size, epochs = self.stream.tasks[number].train, int(v["batch_size"]), int(v["epochs"])
        order = batches.orders([self.run], examples, number, epochs, size, [], {})[0]
        parts = [epoch[at : at + size] for epoch in order for at in range(0, len(epoch), size)]
        draws = generator(self.run.seed, "draw", number).integers(max(1, len(self.buffer)), size=(len(parts), size))
        for batch, draw in zip(parts, draws, strict=True):
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
    stream = small_stream(seed=seed)
    run = RunSpec(0, seed, values_of(("a-gem",), optimizer="sgd", lr=0.02, a_gem_buffer=9))
    plain = PlainAGem(stream, run, scenario)
    matrix = plain.train()
    pack = finish(make_pack(stream, ("a-gem",), (run,), scenario))
    flat = pack.context.layout.flatten({k: p.detach() for k, p in plain.network.named_parameters()})
    assert plain.n_projected > 0
    assert (pack.stack.theta[0] - flat).abs().max() < 5e-6
    assert pack.records[0].test == matrix
    assert pack.stack.buffers["a-gem"][0].indices.tolist() == plain.buffer
    assert pack.records[0].stored_bytes == 9 * 36 * 4


class PlainAGemFrozen(PlainAGem):
    """After the first task the lowest layer does not move, so its gradients are none."""

    def gradient(self, indices: np.ndarray, learned: int) -> list[Tensor]:
        gradient = super().gradient(indices, learned)
        return gradient if learned == 1 else [torch.zeros_like(g) for g in gradient[:2]] + gradient[2:]


def test_weights_that_are_held_still_have_no_say() -> None:
    stream, names = small_stream(), ("a-gem", "freeze")
    values = values_of(names, optimizer="sgd", lr=0.02, a_gem_buffer=9, freeze_depth=1)
    run = RunSpec(0, 0, values)
    plain = PlainAGemFrozen(stream, run, "domain-il")
    plain.train()
    pack = finish(make_pack(stream, names, (run,), "domain-il"))
    flat = pack.context.layout.flatten({k: p.detach() for k, p in plain.network.named_parameters()})
    assert plain.n_projected > 0
    assert (pack.stack.theta[0] - flat).abs().max() < 5e-6


@pytest.mark.parametrize("value", [-1, 2.5])
def test_values_outside_the_rules_are_refused(value: float) -> None:
    (hyper,) = registry["a-gem"].hypers
    with pytest.raises(InputError, match=f"`0 <= a_gem_buffer, .*` must hold, but got a_gem_buffer={value}"):
        hyper.check(value, "space.yaml")


(a_gem_once,) = make_pack(small_stream(), ("a-gem",)).ingredients
