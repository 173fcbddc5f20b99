"""One run as anyone would write it: one `nn.Module`, torch.optim, one batch after the other, autograd for all of it.

It sees the initial weights and the batches of a run in a pack; only rounding tells the two apart. (Weight decay is to
be off: torch.optim would also decay the outputs that are inactive.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.testing.packs import MLP
from cfsweep.training import batches
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.networks import build
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets import target_of

ByName = dict[str, Tensor]
OPTIMIZERS: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class PlainLoop:
    """Plain training on one task after the other, of classes. A twin of an ingredient overrides the methods that say
    what it does: `start`, `penalty`, `note`, `end_task`, or, for more, `train_task`."""

    def __init__(
        self,
        stream: Stream,
        run: RunSpec,
        scenario: Scenario = "task-il",
        network: NetworkConfig = MLP,
        joint: bool = False,
    ) -> None:
        self.stream, self.run, self.scenario, self.joint, self.values = stream, run, scenario, joint, run.values
        self.outputs = target_of(stream.target).outputs(stream, scenario)
        self.x = (stream.x.float() - stream.shift) * stream.scale
        with torch.random.fork_rng():
            torch.manual_seed(torch_seed(run.seed, "init"))
            self.network = build(network, stream.input_shape, self.outputs.n_outputs)

    # ------------------------------------------------------------------ what a twin overrides

    def start(self) -> None:
        """Before the first task."""

    def penalty(self) -> Tensor:
        """What is added to the loss from the second task on, a scalar."""
        return torch.zeros(())

    def note(self, gradients: ByName, before: ByName) -> None:
        """After a step from the weights `before`, given the gradients of the loss without the penalty."""

    def end_task(self, number: int, task: Task) -> None:
        """After a task."""

    # ------------------------------------------------------------------ training

    def train(self) -> list[list[float]]:
        """(T + 1, T): the accuracies on the test data, untrained, then after each task."""
        rows = [self.accuracies(0)]
        self.start()
        for number, task in enumerate(self.stream.tasks):
            self.train_task(number)
            self.end_task(number, task)
            rows.append(self.accuracies(number + 1))
        return rows

    def train_task(self, number: int) -> None:
        """All steps of a task, with a fresh optimizer."""
        for _ in self.steps(number, self.optimizer()):
            pass

    def steps(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        """Takes the steps of a task; gives the number of each, from 1, when it has been taken."""
        for step, batch in enumerate(self.batches_of(number), start=1):
            optimizer.zero_grad()
            self.batch_loss(batch, number + 1).backward()  # type: ignore[no-untyped-call]
            gradients, before = self.gradients(), self.weights()
            if number > 0:
                penalty = self.penalty()
                if penalty.requires_grad:
                    penalty.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.note(gradients, before)
            yield step

    def n_steps(self, number: int) -> int:
        """How many steps a task has."""
        return len(self.batches_of(number))

    def batches_of(self, number: int) -> list[NDArray[np.int64]]:
        """The examples of each step of a task, as a pack has them."""
        examples = batches.training_examples(self.stream, number, self.joint)
        size, epochs = int(self.values["batch_size"]), int(self.values["epochs"])
        orders = batches.orders([self.run], examples, number, epochs, size, [], {})[0]
        return [order[at : at + size] for order in orders for at in range(0, len(order), size)]

    def optimizer(self, **rates: float) -> torch.optim.Optimizer:
        """A fresh one, with a parameter group for each parameter; `rates` are learning rates by layer."""
        v = self.values
        groups: list[dict[str, Any]] = [
            {"params": [p], "lr": rates.get(name.rpartition(".")[0], v["lr"])}
            for name, p in self.network.named_parameters()
        ]
        extra: dict[str, Any] = {"momentum": v["momentum"]} if v["optimizer"] == "sgd" else {}
        made: torch.optim.Optimizer = OPTIMIZERS[str(v["optimizer"])](groups, weight_decay=v["weight_decay"], **extra)
        return made

    # ------------------------------------------------------------------ losses and accuracies

    def active(self, task: int, learned: int) -> list[int]:
        """The outputs that may answer an example of `task` after `learned` tasks."""
        if self.scenario == "task-il":
            return list(self.stream.tasks[task].classes)
        if self.scenario == "class-il" and learned:
            return [c for t in self.stream.tasks[:learned] for c in t.classes]
        return list(range(self.outputs.n_outputs))

    def loss(self, index: int, learned: int) -> Tensor:
        """That of one example."""
        active = self.active(int(self.outputs.task_of[index]), learned)
        logits = self.network(self.x[index : index + 1])[0, active]
        return -torch.log_softmax(logits, 0)[active.index(int(self.outputs.labels[index]))]

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        """The mean over examples."""
        logits = self.network(self.x[indices])
        inactive = torch.ones_like(logits, dtype=torch.bool)
        for row, index in enumerate(indices):
            inactive[row, self.active(int(self.outputs.task_of[index]), learned)] = False
        return nn.functional.cross_entropy(logits.masked_fill(inactive, -torch.inf), self.outputs.labels[indices])

    def accuracies(self, learned: int, part: str = "test") -> list[float]:
        """The accuracy on the `part` examples of each task."""
        found = []
        for number, task in enumerate(self.stream.tasks):
            indices, active = getattr(task, part), self.active(number, learned)
            with torch.no_grad():
                chosen = torch.tensor(active)[self.network(self.x[indices])[:, active].argmax(1)]
            found.append(int((chosen == self.outputs.labels[indices]).sum()) / len(indices))
        return found

    # ------------------------------------------------------------------ weights

    def weights(self) -> ByName:
        """A copy of them."""
        return {name: p.detach().clone() for name, p in self.network.named_parameters()}

    def gradients(self) -> ByName:
        """A copy of those of the last loss."""
        return {name: p.grad.clone() for name, p in self.network.named_parameters() if p.grad is not None}

    def zeros(self) -> ByName:
        """A zero for each weight."""
        return {name: torch.zeros_like(p) for name, p in self.network.named_parameters()}

    def quadratic(self, importance: ByName, centre: ByName) -> Tensor:
        """Σ importance (θ - centre)²."""
        total = torch.zeros(())
        for name, p in self.network.named_parameters():
            total = total + (importance[name] * (p - centre[name]) ** 2).sum()
        return total

    def theta(self) -> Tensor:
        """(P,): the weights as a pack has them."""
        return Layout(self.network, self.outputs.n_outputs).flatten(self.weights()).clone()

    def go_back(self, theta: Tensor) -> None:
        """Takes the weights (P,)."""
        with torch.no_grad():
            for name, piece in Layout(self.network, self.outputs.n_outputs).unflatten(theta).items():
                self.network.get_parameter(name).copy_(piece)
