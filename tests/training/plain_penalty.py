"""Whole runs with a penalty as anyone would write them: one nn.Module, torch.optim, autograd for the penalty too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import Scenario, StreamConfig
from cfsweep.hypers import Value
from cfsweep.training import batches
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task, load_stream
from tests.training.conformance import finish, make_pack, values_of
from tests.training.test_whole_run import NETWORK, OPTIMIZERS, PlainLoop

Named = dict[str, Tensor]


class PlainPenalty(PlainLoop):
    """A plain loop to whose loss `penalty()` is added from the second task on."""

    def train(self) -> list[list[int]]:
        """The right answers on the test data: untrained, then after each task."""
        rows = [self.accuracies(0, "test")]
        self.start()
        for number, task in enumerate(self.stream.tasks):
            self.train_task(number)
            self.end_task(number, task)
            rows.append(self.accuracies(number + 1, "test"))
        return rows

    def train_task(self, number: int) -> None:
        v = self.values
        extra = {"momentum": v["momentum"]} if v["optimizer"] == "sgd" else {}
        optimizer = OPTIMIZERS[str(v["optimizer"])](self.network.parameters(), lr=v["lr"], **extra)
        size, epochs = int(v["batch_size"]), int(v["epochs"])
        examples = self.stream.tasks[number].train
        for order in batches.orders([self.run], examples, number, epochs, size, [], {})[0]:
            for at in range(0, len(order), size):
                optimizer.zero_grad()
                self.batch_loss(order[at : at + size], number + 1).backward()
                gradients, before = self.gradients(), self.weights()
                if number > 0:
                    self.penalty().backward()
                optimizer.step()
                self.note(gradients, before)

    def weights(self) -> Named:
        return {name: p.detach().clone() for name, p in self.network.named_parameters()}

    def gradients(self) -> Named:
        return {name: p.grad.clone() for name, p in self.network.named_parameters() if p.grad is not None}

    def zeros(self) -> Named:
        return {name: torch.zeros_like(p) for name, p in self.network.named_parameters()}

    def quadratic(self, importance: Named, centre: Named) -> Tensor:
        """Σ importance (θ - centre)²."""
        total = torch.zeros(())
        for name, p in self.network.named_parameters():
            total = total + (importance[name] * (p - centre[name]) ** 2).sum()
        return total

    def start(self) -> None:
        """Before the first task."""

    def note(self, gradients: Named, before: Named) -> None:
        """After a step from the weights `before`, given the gradients of the loss without the penalty."""

    def end_task(self, number: int, task: Task) -> None:
        raise NotImplementedError


def assert_agrees(loop: type[PlainPenalty], name: str, scenario: Scenario, seed: int, **given: Value) -> None:
    """That the pack and the plain loop end with the same weights and the same right answers, on three small tasks."""
    digits = load_stream(StreamConfig(name="split-digits"))
    few: Stream = replace(digits, tasks=tuple(replace(t, train=t.train[:70]) for t in digits.tasks[:3]))
    run = RunSpec(0, seed, values_of((name,), **{"batch_size": 16, "epochs": 3, **given}))
    plain = loop(few, run, scenario, NETWORK, joint=False)
    pack = finish(make_pack(few, (name,), (run,), scenario, NETWORK))
    matrix = plain.train()
    flat = pack.layout.flatten(plain.weights())
    assert matrix == pack.records[0].test
    torch.testing.assert_close(pack.stack.theta[0], flat, rtol=0, atol=2e-5)
    unpenalized = finish(make_pack(few, (), None, scenario, NETWORK, **_plain_values(run)))
    assert (flat - unpenalized.stack.theta[0]).abs().max() > 1e-3, "the penalty has to have a say"
    assert np.shape(matrix) == (4, 3)


def _plain_values(run: RunSpec) -> dict[str, Value]:
    return {name: value for name, value in run.values.items() if name in values_of(())}
