"""What several tests of training share, beside `cfsweep.testing`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import NetworkConfig, Scenario, StreamConfig
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, twins_agree, values_of
from cfsweep.testing.packs import SHAPE
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Examples
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task, load_stream

NETWORK = NetworkConfig(name="mlp", args={"hidden": [32, 32]})


# ------------------------------------------------------------------------------------------------ real digits


@cache
def digits() -> Stream:
    """Real images, 5 tasks."""
    return load_stream(StreamConfig(name="split-digits"))


@cache
def few_digits() -> Stream:
    """Their first 3 tasks with 70 training examples each."""
    return replace(digits(), tasks=tuple(replace(task, train=task.train[:70]) for task in digits().tasks[:3]))


def assert_agrees(loop: type[PlainLoop], name: str, scenario: Scenario, seed: int, **given: Value) -> None:
    """That a pack and the plain loop end with the same weights and the same accuracies, on some real digits."""
    run = RunSpec(0, seed, values_of((name,), **{"batch_size": 16, "epochs": 3, **given}))
    pack, _ = twins_agree((name,), loop, few_digits(), run, scenario, NETWORK)
    assert np.shape(pack.records[0].test) == (4, 3)


def rights(scores: list[list[float]], stream: Stream, part: str = "test") -> NDArray[np.int64]:
    """(rows, T): how many answers were right, from the accuracies."""
    sizes = np.array([len(getattr(task, part)) for task in stream.tasks])
    counts = np.rint(np.array(scores) * sizes)
    assert (counts / sizes == scores).all()
    return counts.astype(np.int64)


# ------------------------------------------------------------------------------------------------ examples by hand


def random_examples(n: int, seed: int = 0) -> Examples:
    """Examples with one of three masks each; labels are active ones."""
    rng = np.random.default_rng(seed)
    masks = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], bool)[rng.integers(3, size=n)]
    labels = [rng.choice(np.flatnonzero(mask)) for mask in masks]
    x = torch.from_numpy(rng.normal(size=(n, *SHAPE))).float()
    uniform = torch.from_numpy(rng.random(n, np.float32))
    return Examples(x, torch.tensor(labels), torch.from_numpy(masks), uniform, torch.empty(n, 0))


def sensitivity_by_hand(module: nn.Module, layout: Layout, theta: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """The mean over examples of |d Σ active logits² / dθ|, by the definition: one example at a time."""
    with torch.no_grad():
        for name, piece in layout.unflatten(theta).items():
            module.get_parameter(name).copy_(piece)
    total = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for one, active in zip(x, mask, strict=True):
        module.zero_grad()
        logits = module(one.unsqueeze(0))[0]
        sum(logits[k] ** 2 for k in active.nonzero().flatten().tolist()).backward()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:  # of a spare layer it is
                total[name] += parameter.grad.abs()
    return layout.flatten({name: value / len(x) for name, value in total.items()})


# ------------------------------------------------------------------------------------------------ a buffer by hand


class PlainReservoir(PlainLoop):
    """A plain loop with a reservoir of old examples: Vitter 1985, algorithm R, one example at a time.

    `buffer_hyper` names the hyperparameter that is its size.
    """

    buffer_hyper: str

    def start(self) -> None:
        self.buffer: list[int] = []
        self.offered = 0

    def end_task(self, number: int, task: Task) -> None:
        self.update_buffer(number, task)

    def update_buffer(self, number: int, task: Task) -> None:
        """Offers it the examples of a task."""
        capacity, rng = int(self.values[self.buffer_hyper]), generator(self.run.seed, "buffer", number)
        for example, draw in zip(task.train, rng.integers(self.offered + np.arange(len(task.train)) + 1), strict=True):
            if len(self.buffer) < capacity:
                self.buffer.append(int(example))
            elif draw < capacity:
                self.buffer[draw] = int(example)
            self.offered += 1

    def draws(self, number: int, size: int) -> list[NDArray[np.int64]]:
        """For each step of a task `size` places in the buffer."""
        rng = generator(self.run.seed, "draw", number)
        return list(rng.integers(max(1, len(self.buffer)), size=(len(self.batches_of(number)), size)))


# ------------------------------------------------------------------------------------------------ stopping by hand


def steered_by_validation(stream: Stream) -> Stream:
    """The stream whose stop rules look at what scores, so that records and curves show what they saw."""
    return replace(stream, tasks=tuple(replace(task, steering=task.validation) for task in stream.tasks))


def early_stopped(
    plain: PlainLoop, task: int, patience: int, optimizer: torch.optim.Optimizer | None = None
) -> tuple[int, int]:
    """Trains a task with early stopping, with a fresh optimizer if none is given; returns the steps taken, and the
    epoch whose weights were kept."""
    per_epoch = plain.n_steps(task) // int(plain.values["epochs"])
    best: tuple[float, int, Tensor] | None = None
    for step in plain.steps(task, optimizer or plain.optimizer()):
        if step % per_epoch:
            continue
        epoch, accuracy = step // per_epoch, plain.accuracies(task + 1, "steering")[task]
        if best is None or accuracy > best[0]:
            best = (accuracy, epoch, plain.theta())
        if epoch - best[1] == patience:
            break
    assert best is not None
    plain.go_back(best[2])
    return step, best[1]
