"""Whole runs against a plain PyTorch loop: one nn.Module, torch.optim, one batch after the other.

The two see the same initial weights, the same batches and the same sampled labels; only rounding tells them apart.
Weight decay is off here: torch.optim would also decay the outputs that are inactive.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Value
from cfsweep.testing.packs import finish, make_pack, values_of
from cfsweep.training import batches
from cfsweep.training.engine.randomness import generator
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task
from tests.training.helpers import NETWORK, PlainReservoir, digits, few_digits, rights


class PlainEwcAndReplay(PlainReservoir):
    """Naive, EWC (separate, true Fisher) and replay, as far as the run has their hyperparameters."""

    buffer_hyper = "replay_buffer"

    def start(self) -> None:
        super().start()
        self.anchors: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def batches_of(self, number: int) -> list[NDArray[np.int64]]:
        mixed, size, epochs = super().batches_of(number), int(self.values["batch_size"]), int(self.values["epochs"])
        per_epoch, n = len(mixed) // epochs, sum(map(len, mixed)) // epochs
        for epoch in range(epochs if self.buffer else 0):
            draws = np.array(self.buffer)[
                generator(self.run.seed, "mix", number, epoch).integers(len(self.buffer), size=n)
            ]
            for batch, at in zip(mixed[epoch * per_epoch :], range(0, n, size), strict=False):
                n_old = int(np.floor(float(self.values["replay_ratio"]) * len(batch) + 0.5))
                batch[:n_old] = draws[at : at + n_old]
        return mixed

    def penalty(self) -> Tensor:
        strength = 0.5 * float(self.values["ewc_lambda"]) if self.anchors else 0.0
        return sum((strength * self.quadratic(*anchor) for anchor in self.anchors), torch.zeros(()))

    def end_task(self, number: int, task: Task) -> None:
        if self.values.get("ewc_lambda"):
            self.anchor(number, task)
        if self.values.get("replay_buffer"):
            self.update_buffer(number, task)

    def anchor(self, number: int, task: Task) -> None:
        n = min(int(self.values["ewc_examples"]), len(task.train))
        chosen, uniform, _ = batches.examples_to_consolidate([self.run], task.train, number, n, 0)
        fisher, active = self.zeros(), self.active(number, number + 1)
        for index, u in zip(chosen[0], uniform[0], strict=True):
            self.network.zero_grad()
            log_p = torch.log_softmax(self.network(self.x[index : index + 1])[0, active], 0)
            sampled = int(np.searchsorted(log_p.detach().exp().cumsum(0).numpy(), u, side="right"))
            log_p[min(sampled, len(active) - 1)].backward()
            for name, gradient in self.gradients().items():
                fisher[name] += gradient**2 / n
        self.anchors.append((fisher, self.weights()))


def both(
    stream: Stream, names: tuple[str, ...], scenario: Scenario = "task-il", joint: bool = False, **given: Value
) -> tuple[list[list[float]], Tensor, list[list[float]]]:
    """The plain loop's matrix, how far the pack's weights are from its own, and the pack's matrix."""
    sizes: dict[str, Value] = {"batch_size": 32, "epochs": 2}
    sizes |= {k: v for k, v in {"ewc_examples": 60, "replay_buffer": 50}.items() if k.partition("_")[0] in names}
    run = RunSpec(0, 3, values_of(names, **{**sizes, **given}))
    plain = PlainEwcAndReplay(stream, run, scenario, NETWORK, joint)
    pack = finish(make_pack(stream, names, (run,), scenario, NETWORK, joint=joint))
    return plain.train(), pack.stack.theta[0] - plain.theta(), pack.records[0].test


CASES: list[tuple[tuple[str, ...], dict[str, Value]]] = [
    ((), {"optimizer": "sgd", "lr": 0.05}),
    ((), {"optimizer": "adam", "lr": 3e-3}),
    ((), {"optimizer": "adamw", "lr": 3e-3}),
    (("ewc",), {"optimizer": "sgd", "lr": 0.01, "ewc_lambda": 30.0}),
    (("ewc",), {"optimizer": "adam", "lr": 3e-3, "ewc_lambda": 100.0}),
    (("replay",), {"optimizer": "adam", "lr": 3e-3, "replay_ratio": 0.4}),
    (("replay",), {"optimizer": "sgd", "lr": 0.05, "replay_ratio": 0.25}),
    (("ewc", "replay"), {"optimizer": "adam", "lr": 3e-3}),
]


@pytest.mark.parametrize(
    ("names", "given"), CASES, ids=lambda c: "+".join(c) if isinstance(c, tuple) else c["optimizer"]
)
def test_accuracy_matrix_is_that_of_a_plain_loop(names: tuple[str, ...], given: dict[str, Value]) -> None:
    matrix, apart, own = both(digits(), names, **given)
    # Measured: the same matrices, weights within 2e-6. Another BLAS may turn a ReLU over and one example with it.
    assert np.abs(rights(matrix, digits()) - rights(own, digits())).max() <= 1
    assert apart.abs().max() < 1e-3


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("names", [(), ("ewc", "replay")], ids=["naive", "ewc+replay"])
def test_few_steps_agree_tightly_in_every_scenario(names: tuple[str, ...], scenario: Scenario) -> None:
    matrix, apart, own = both(few_digits(), names, scenario, optimizer="sgd", lr=0.02)
    assert matrix == own
    assert apart.abs().max() < 2e-6


def test_joint_trains_on_all_data_so_far() -> None:
    few = few_digits()
    matrix, apart, own = both(few, (), joint=True, optimizer="sgd", lr=0.02)
    assert matrix == own
    assert apart.abs().max() < 2e-6
    assert batches.training_examples(few, 2, joint=True).tolist() == [i for t in few.tasks for i in t.train]
