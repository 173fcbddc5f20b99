"""Examples that an ingredient draws beside the batches of one task, from its memory or from its imagination."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.ingredients import Ingredient, Memory
from cfsweep.training.parts import PackParts
from cfsweep.training.randomness import generator
from cfsweep.training.remembering import renewed_memories
from cfsweep.training.stack import Stack


class Recalled(NamedTuple):
    """One step's examples: x (rows, n, *input_shape), labels (rows, n), mask (rows, n, n_outputs), and the logits kept
    with them (rows, n, n_outputs), or None."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    logits: Tensor | None


@dataclass(frozen=True)
class Recall:
    """What an ingredient draws in each step of `task`. `rows` (rows,) bool: which have something to draw from; the
    others get some examples that mean nothing.

    `places` (rows, steps, n) point into the `pool` of imagined examples, or into the remembered `indices` (rows,
    longest memory) and the `logits` kept with them.
    """

    parts: PackParts
    task: int
    rows: Tensor
    places: Tensor
    pool: Recalled | None
    indices: Tensor | None
    logits: Tensor | None

    @staticmethod
    def of(parts: PackParts, stack: Stack, ingredient: Ingredient, task: int, n_steps: int) -> Recall:
        """The draws of `ingredient` in the `n_steps` steps of `task`."""
        size = ingredient.recall_size(int(parts.settings["batch_size"]))
        pool = _imagined(parts, stack, ingredient, task) if ingredient.has("imagine") else None
        memories = _memories(parts, stack, ingredient, task)
        lengths = [len(memory.indices) for memory in memories]
        has_some = torch.tensor([length > 0 for length in lengths], device=parts.device)
        if pool is not None:  # one that is switched off must not even see the network with its examples
            lengths = [pool.labels.shape[1]] * len(stack)
            has_some = stack.over_rows(ingredient.reaches_old, stack.values)
        places = np.stack(
            [
                generator(run.seed, "recall", task).integers(max(1, length), size=(n_steps, size))
                for run, length in zip(stack.representatives, lengths, strict=True)
            ]
        )
        indices, logits = None, None
        if pool is None and any(lengths):
            padded = np.zeros((len(stack), max(lengths)), np.int64)
            for row, memory in enumerate(memories):
                padded[row, : len(memory.indices)] = memory.indices
            indices = torch.from_numpy(padded).to(parts.device)
            if ingredient.keeps_logits:
                logits = _padded([m.logits for m in memories], max(lengths), parts)
        return Recall(parts, task, has_some, torch.from_numpy(places).to(parts.device), pool, indices, logits)

    def some(self, rows: slice) -> Recall:
        """What is drawn for some rows alone."""
        return replace(
            self,
            rows=self.rows[rows],
            places=self.places[rows],
            pool=self.pool
            and self.pool._replace(x=self.pool.x[rows], labels=self.pool.labels[rows], mask=self.pool.mask[rows]),
            indices=None if self.indices is None else self.indices[rows],
            logits=None if self.logits is None else self.logits[rows],
        )

    def examples(self, step: int) -> Recalled:
        """The draws of step `step`, counted from 0."""
        places = self.places[:, step]
        row = torch.arange(len(places), device=places.device).unsqueeze(1)
        if self.pool is not None:
            return Recalled(self.pool.x[row, places], self.pool.labels[row, places], self.pool.mask[row, places], None)
        assert self.indices is not None
        indices = self.indices[row, places]
        outputs = self.parts.outputs
        mask = outputs.masks[self.task][outputs.task_of[indices]]
        logits = None if self.logits is None else self.logits[row, places]
        return Recalled(self.parts.store[indices], outputs.labels[indices], mask, logits)


def _memories(parts: PackParts, stack: Stack, ingredient: Ingredient, task: int) -> list[Memory]:
    """The memory that each row recalls from."""
    memories = stack.memories[ingredient.name]
    if ingredient.recalls_current:
        return renewed_memories(parts, stack, ingredient, task, parts.stream.tasks[task].train)
    return memories


def _imagined(parts: PackParts, stack: Stack, ingredient: Ingredient, task: int) -> Recalled:
    shape = (len(parts.stream.tasks[task].train), ingredient.noise_size())
    noise = [
        generator(run.seed, "noise", task, epoch=1).standard_normal(shape, np.float32) for run in stack.representatives
    ]
    parts.lifted.module.eval()  # a restored pack's is not yet
    with torch.no_grad():
        x, labels, mask = stack.over_rows(
            lambda t, s, v, n: ingredient.imagine(t, s, v, task, n),
            stack.theta,
            stack.states[ingredient.name],
            stack.values,
            torch.from_numpy(np.stack(noise)).to(parts.device),
        )
    return Recalled(x, labels, mask, None)


def _padded(logits: list[np.ndarray | None], length: int, parts: PackParts) -> Tensor:
    padded = torch.zeros(len(logits), length, parts.outputs.n_outputs)
    for row, kept in enumerate(logits):
        if kept is not None:
            padded[row, : len(kept)] = torch.from_numpy(kept)
    return padded.to(parts.device)
