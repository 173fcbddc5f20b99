"""The peers: plain PyTorch loops over in-memory batches, for one run, as one would write them by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from cfsweep.config import NetworkConfig
from cfsweep.training.networks import build
from cfsweep.training.streams import Stream

FISHER_CHUNK = 25  # per-example gradients at once: 27 MB for 0.27 million parameters


@dataclass(frozen=True)
class Settings:
    """What a peer and a pack have in common."""

    method: str
    epochs: int
    batch_size: int
    hidden: tuple[int, ...]
    lr: float
    ewc_lambda: float
    ewc_examples: int
    replay_ratio: float
    replay_buffer: int


@dataclass(frozen=True)
class Outcome:
    """`matrix[t][i]`: test accuracy on task i after task t, in [0, 1]; seconds of training and steps of one run."""

    matrix: list[list[float]]
    train_s: float
    steps: int


class PlainRun:
    """Task-il with one output layer; `method` is naive, ewc (one running anchor) or replay (a reservoir).

    Everything lies on `device`, the data too. Without a `network` it is a stack of linear layers and ReLUs.
    """

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        seed: int,
        fused: bool = False,
        device: str = "cpu",
        network: NetworkConfig | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.stream, self.settings, self.fused = stream, settings, fused or None  # None: as torch chooses
        x = (stream.x.float() - stream.shift) * stream.scale
        self.x = (x if network else x.flatten(1)).to(self.device)
        self.y = stream.y.to(self.device)
        if network:
            self.network = build(network, stream.input_shape, stream.n_classes).to(self.device)
        else:
            self.network = self._linear_layers().to(self.device)
        inactive = torch.ones(len(stream.x), stream.n_classes, dtype=torch.bool)
        for task in stream.tasks:
            for part in (task.train, task.validation, task.test):
                inactive[torch.from_numpy(part)[:, None], torch.tensor(task.classes)] = False
        self.inactive = inactive.to(self.device)
        self.fisher: list[Tensor] = []
        self.centre: list[Tensor] = []
        self.buffer = torch.empty(0, dtype=torch.int64, device=self.device)
        self.seen = 0

    def _linear_layers(self) -> nn.Module:
        sizes = [self.x.shape[1], *self.settings.hidden]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], self.stream.n_classes))

    def run(self) -> Outcome:
        matrix, train_s, steps = [], 0.0, 0
        for number, task in enumerate(self.stream.tasks):
            started = time.perf_counter()
            examples = torch.from_numpy(task.train).to(self.device)
            steps += self._train(examples, list(task.classes))
            if self.settings.method == "ewc":
                self._anchor(examples, list(task.classes))
            if self.settings.method == "replay":
                self._remember(examples)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            train_s += time.perf_counter() - started
            matrix.append(self._evaluate())
            assert len(matrix) == number + 1
        return Outcome(matrix, train_s, steps)

    def _train(self, examples: Tensor, classes: list[int]) -> int:
        settings, steps = self.settings, 0
        optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.lr, fused=self.fused)
        first = classes[0]  # the classes of a task are consecutive outputs
        loss_of: Callable[[Tensor], Tensor]
        if len(self.buffer):
            loss_of = self._masked_loss
        else:

            def loss_of(batch: Tensor) -> Tensor:
                logits = self.network(self.x[batch])[:, first : first + len(classes)]
                return cross_entropy(logits, self.y[batch] - first)

        for _ in range(settings.epochs):
            order = examples[torch.randperm(len(examples)).to(self.device)]
            for batch in torch.split(order, settings.batch_size):
                optimizer.zero_grad()
                loss = loss_of(self._mixed(batch))
                if self.fisher:
                    loss = loss + self._penalty()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                steps += 1
        return steps

    def _mixed(self, batch: Tensor) -> Tensor:
        if not len(self.buffer):
            return batch
        n_old = int(self.settings.replay_ratio * len(batch) + 0.5)
        old = self.buffer[torch.randint(len(self.buffer), (n_old,)).to(self.device)]
        return torch.cat([old, batch[n_old:]])

    def _masked_loss(self, batch: Tensor) -> Tensor:
        logits = self.network(self.x[batch]).masked_fill(self.inactive[batch], -torch.inf)
        return cross_entropy(logits, self.y[batch])

    def _penalty(self) -> Tensor:
        parts = zip(self.fisher, self.network.parameters(), self.centre, strict=True)
        total = torch.stack([(f * (p - centre).square()).sum() for f, p, centre in parts]).sum()
        return 0.5 * self.settings.ewc_lambda * total

    def _anchor(self, examples: Tensor, classes: list[int]) -> None:
        """Adds the Fisher diagonal (labels drawn from the model) of the task that has ended; moves the centre."""
        parameters = {name: p.detach() for name, p in self.network.named_parameters()}
        chosen = examples[torch.randperm(len(examples)).to(self.device)[: self.settings.ewc_examples]]
        first, last = classes[0], classes[-1] + 1

        def log_p(weights: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(self.network, weights, (x.unsqueeze(0),))[0, first:last]
            return -cross_entropy(logits, label)

        with torch.no_grad():
            labels = torch.softmax(self.network(self.x[chosen])[:, first:last], -1).multinomial(1).squeeze(1)
        each = vmap(grad(log_p), in_dims=(None, 0, 0))
        total = [torch.zeros_like(p) for p in parameters.values()]
        for part, label in zip(torch.split(chosen, FISHER_CHUNK), torch.split(labels, FISHER_CHUNK), strict=True):
            for sum_, g in zip(total, each(parameters, self.x[part], label).values(), strict=True):
                sum_ += g.square().sum(0) / len(chosen)
        self.fisher = [a + b for a, b in zip(self.fisher, total, strict=True)] if self.fisher else total
        self.centre = [p.clone() for p in parameters.values()]

    def _remember(self, examples: Tensor) -> None:
        capacity, kept = self.settings.replay_buffer, self.buffer.tolist()
        draws = (torch.rand(len(examples)) * torch.arange(self.seen + 1, self.seen + len(examples) + 1)).long()
        for example, draw in zip(examples.tolist(), draws.tolist(), strict=True):
            if len(kept) < capacity:
                kept.append(example)
            elif draw < capacity:
                kept[draw] = example
        self.buffer, self.seen = torch.tensor(kept, device=self.device), self.seen + len(examples)

    def _evaluate(self) -> list[float]:
        row = []
        with torch.no_grad():
            for task in self.stream.tasks:
                test = torch.from_numpy(task.test).to(self.device)
                logits = self.network(self.x[test]).masked_fill(self.inactive[test], -torch.inf)
                row.append(float((logits.argmax(1) == self.y[test]).float().mean()))
        return row
