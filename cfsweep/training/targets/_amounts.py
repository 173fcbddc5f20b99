"""Targets whose labels are amounts, (n, k): the same k outputs for all tasks, or k outputs for each."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Indices, Stream
from cfsweep.training.targets._base import Outputs, Score, Target, task_of_each


def outputs_of_amounts(
    stream: Stream, scenario: Scenario, labels: Tensor, noun: str, unit: tuple[Tensor, Tensor] | None = None
) -> Outputs:
    """The outputs for labels (n_examples, k): in domain-il k, the same in all tasks; in task-il k for each task, a head
    of its own, and a label is 0 at the outputs of the other heads. `noun` says what an output stands for.

    Raises:
        InputError: the scenario is class-il.
    """
    n_tasks, k = len(stream.tasks), labels.shape[1]
    labels, task_of = labels.to(torch.float32), task_of_each(stream)
    if scenario == "domain-il":
        masks = torch.ones(n_tasks + 1, n_tasks, k, dtype=torch.bool)
        return Outputs(k, labels, task_of, masks, f"an output is {noun}", unit)
    if scenario == "class-il":
        raise InputError(
            f"target `{stream.target}`: there are no classes to tell apart, so the scenario must be domain-il, where "
            "all tasks share the outputs, or task-il, where each has its own, but is class-il. Give `--scenario "
            "domain-il`."
        )
    own = torch.eye(n_tasks, dtype=torch.bool).repeat_interleave(k, dim=1)  # (T, T * k)
    wide = labels.repeat(1, n_tasks) * own[task_of] * (task_of >= 0).unsqueeze(1)
    wide_unit = None if unit is None else (unit[0].repeat(n_tasks), unit[1].repeat(n_tasks))
    masks = own.expand(n_tasks + 1, -1, -1).clone()
    return Outputs(n_tasks * k, wide, task_of, masks, f"an output is {noun} of one task", wide_unit)


class Amounts(Target):
    """A target whose outputs each have a label of their own; what is written here is the sum or mean over them.

    `heads`: each task has outputs of its own, of which those alone that are active count; else all do.
    """

    has_classes = False

    def __init__(self, heads: bool = False) -> None:
        self.heads = heads

    def for_stream(self, stream: Stream, outputs: Outputs) -> Self:
        super().for_stream(stream, outputs)
        return self if outputs.masks.all() else type(self)(heads=True)

    def classes(self, stream: Stream) -> Indices:
        return np.zeros(len(stream.y), np.int64)

    @abstractmethod
    def each_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of each label (..., n, k)."""

    @abstractmethod
    def each_loss_gradient(self, outputs: Tensor, labels: Tensor, n: int) -> Tensor:
        """Its gradient by its output, divided by `n`."""

    @abstractmethod
    def each_log_likelihood(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The log-likelihood of each label (..., n, k), up to a constant."""

    @abstractmethod
    def each_log_likelihood_gradient(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Its gradient by its output."""

    def losses(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The mean over the labels; with heads over those of the active outputs."""
        each = self.each_loss(outputs, labels)
        return self._active(each, mask).sum(-1) / mask.sum(-1) if self.heads else each.mean(-1)

    def loss_and_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        n, k = outputs.shape[-2:]
        if not self.heads:
            each = self.each_loss(outputs, labels)
            return each.mean((-2, -1)), self.each_loss_gradient(outputs, labels, n * k)
        gradient = self.each_loss_gradient(outputs, labels, n) / mask.sum(-1, keepdim=True)
        return self.losses(outputs, labels, mask).mean(-1), self._active(gradient, mask)

    def log_likelihood(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return self._active(self.each_log_likelihood(outputs, labels), mask).sum(-1)

    def log_likelihood_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return self._active(self.each_log_likelihood_gradient(outputs, labels), mask)

    def measured(self, score: Score, answers: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return score.of(answers[..., mask], labels[..., mask])

    def _active(self, each: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, each, 0.0) if self.heads else each
