"""A plain PyTorch loop whose optimizer, learning rates and end of a task are left to the caller."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.training import batches
from cfsweep.training.engine.layout import Layout
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from tests.training.conformance import MLP
from tests.training.test_whole_run import OPTIMIZERS, PlainLoop


class PlainSteps(PlainLoop):
    """One run, one nn.Module; it draws the batches of `run`."""

    def __init__(
        self, stream: Stream, run: RunSpec, scenario: Scenario = "task-il", network: NetworkConfig = MLP
    ) -> None:
        super().__init__(stream, run, scenario, network, joint=False)

    def optimizer(self, **rates: float) -> torch.optim.Optimizer:
        """A fresh one, with a parameter group for each parameter; `rates` are learning rates by layer."""
        v = self.values
        groups = [
            {"params": [p], "lr": rates.get(name.rpartition(".")[0], v["lr"])}
            for name, p in self.network.named_parameters()
        ]
        extra = {"momentum": v["momentum"]} if v["optimizer"] == "sgd" else {}
        made: torch.optim.Optimizer = OPTIMIZERS[str(v["optimizer"])](groups, weight_decay=0.0, **extra)
        return made

    def steps(self, task: int, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        """Takes the steps of `task`; gives the number of each, from 1, after it was taken."""
        size, epochs, step = int(self.values["batch_size"]), int(self.values["epochs"]), 0
        for order in batches.orders([self.run], self.stream.tasks[task].train, task, epochs, size, [], {})[0]:
            for at in range(0, len(order), size):
                optimizer.zero_grad()
                self.batch_loss(order[at : at + size], task + 1).backward()
                optimizer.step()
                step += 1
                yield step

    def n_steps(self, task: int) -> int:
        return int(self.values["epochs"]) * -(-len(self.stream.tasks[task].train) // int(self.values["batch_size"]))

    def validation(self, learned: int) -> list[float]:
        """The validation accuracy on each task."""
        counts = self.accuracies(learned, "validation")
        return [right / len(task.validation) for right, task in zip(counts, self.stream.tasks, strict=True)]

    def theta(self) -> Tensor:
        """(P,)."""
        layout = Layout(self.network, self.outputs.n_outputs)
        return layout.flatten({name: p.detach() for name, p in self.network.named_parameters()}).clone()

    def go_back(self, theta: Tensor) -> None:
        layout = Layout(self.network, self.outputs.n_outputs)
        with torch.no_grad():
            for name, piece in layout.unflatten(theta).items():
                self.network.get_parameter(name).copy_(piece)
