"""Examples that are drawn beside the mini-batches of one task, from an ingredient's buffer or its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Buffer, Buffered, Generated, Generator, ReplayLoss
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack
from cfsweep.training.task_end import renewed_buffers


class DrawnExamples(NamedTuple):
    """One step's examples: x (rows, n, *input_shape), labels (rows, n, ...), mask (rows, n, n_outputs), and the logits
    stored with them (rows, n, n_outputs), or None."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    stored: Tensor | None


@dataclass(frozen=True)
class ReplayDraws:
    """What an ingredient draws in each step of `task`. `rows` (rows,) bool: which have something to draw from; the
    others get some examples that mean nothing.

    `places` (rows, steps, n) point into the `pool` of generated examples, or into the buffers' `indices` (rows,
    longest buffer) and the logits `stored` with them.
    """

    context: PackContext
    task: int
    rows: Tensor
    places: Tensor
    pool: Generated | None
    indices: Tensor | None
    stored: Tensor | None

    @staticmethod
    def of(context: PackContext, stack: Stack, ingredient: ReplayLoss, task: int, n_steps: int) -> ReplayDraws:
        """The draws of `ingredient` in the `n_steps` steps of `task`."""
        size = ingredient.n_draws(int(context.settings["batch_size"]))
        context.lifted.module.eval()  # a source may ask it, and a restored pack's is not yet
        pool, indices, stored = None, None, None
        if isinstance(ingredient, Generator):
            pool = _generated(context, stack, ingredient, task)
            lengths = [pool.labels.shape[1]] * len(stack)
            # One that is switched off must not even see the network with its examples.
            rows = stack.over_rows(ingredient.is_on, stack.values_of(ingredient))
        else:
            assert isinstance(ingredient, Buffered)  # `checked_class` saw to it
            buffers = _buffers(context, stack, ingredient, task)
            lengths = [len(buffer.indices) for buffer in buffers]
            rows = torch.tensor([length > 0 for length in lengths], device=context.device)
            if any(lengths):
                indices = _padded_indices(buffers, context)
                stored = _padded_logits(buffers, context) if ingredient.stores_logits else None
        places = np.stack(
            [
                generator(run.seed, "draw", task).integers(max(1, length), size=(n_steps, size))
                for run, length in zip(stack.representatives, lengths, strict=True)
            ]
        )
        return ReplayDraws(context, task, rows, torch.from_numpy(places).to(context.device), pool, indices, stored)

    def some(self, rows: slice) -> ReplayDraws:
        """What is drawn for some rows alone."""
        return replace(
            self,
            rows=self.rows[rows],
            places=self.places[rows],
            pool=self.pool and Generated(*(part[rows] for part in self.pool)),
            indices=None if self.indices is None else self.indices[rows],
            stored=None if self.stored is None else self.stored[rows],
        )

    def examples(self, step: int) -> DrawnExamples:
        """The draws of step `step`, counted from 0."""
        places = self.places[:, step]
        row = torch.arange(len(places), device=places.device).unsqueeze(1)
        if self.pool is not None:
            x, labels, mask = (part[row, places] for part in self.pool)
            return DrawnExamples(x, labels, mask, None)
        assert self.indices is not None
        indices = self.indices[row, places]
        outputs = self.context.outputs
        mask = outputs.masks[self.task][outputs.task_of[indices]]
        stored = None if self.stored is None else self.stored[row, places]
        return DrawnExamples(self.context.store[indices], outputs.labels[indices], mask, stored)


def _buffers(context: PackContext, stack: Stack, ingredient: Buffered, task: int) -> list[Buffer]:
    """The buffer that each row draws from."""
    if ingredient.holds_current_task:
        return renewed_buffers(context, stack, ingredient, task, context.stream.tasks[task].train)
    return stack.buffers[ingredient.name]


def _generated(context: PackContext, stack: Stack, ingredient: Generator, task: int) -> Generated:
    shape = (len(context.stream.tasks[task].train), ingredient.n_noise())
    noise = [
        generator(run.seed, "noise", task, epoch=1).standard_normal(shape, np.float32) for run in stack.representatives
    ]
    with torch.no_grad():
        generated: Generated = stack.over_rows(
            lambda t, s, v, n: ingredient.generate(t, s, v, task, n),
            stack.theta,
            stack.states[ingredient.name],
            stack.values_of(ingredient),
            torch.from_numpy(np.stack(noise)).to(context.device),
        )
    return generated


def _padded_indices(buffers: Sequence[Buffer], context: PackContext) -> Tensor:
    padded = np.zeros((len(buffers), max(len(buffer.indices) for buffer in buffers)), np.int64)
    for row, buffer in enumerate(buffers):
        padded[row, : len(buffer.indices)] = buffer.indices
    return torch.from_numpy(padded).to(context.device)


def _padded_logits(buffers: Sequence[Buffer], context: PackContext) -> Tensor:
    padded = torch.zeros(len(buffers), max(len(buffer.indices) for buffer in buffers), context.outputs.n_outputs)
    for row, buffer in enumerate(buffers):
        if buffer.logits is not None:
            padded[row, : len(buffer.logits)] = torch.from_numpy(buffer.logits)
    return padded.to(context.device)
