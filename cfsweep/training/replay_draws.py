"""Examples that are drawn beside the mini-batches of one task, from an ingredient's buffer or its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Buffer, Buffered, BufferedOnline, Generator, Indices, ReplayLoss
from cfsweep.training.made_up import MadeUp
from cfsweep.training.pack_context import PackContext
from cfsweep.training.pictures import Pictures
from cfsweep.training.spec import RunSpec
from cfsweep.training.stack import Stack
from cfsweep.training.task_end import buffers_within


class DrawnExamples(NamedTuple):
    """One step's examples: x (rows, n, *input_shape), labels (rows, n, ...), mask (rows, n, ..., n_outputs), and the
    logits stored with them (rows, n, n_outputs), or None."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    stored: Tensor | None


class Filling(NamedTuple):
    """How buffers fill while a task is trained, as it is known before: chance decides, and no weight has a say.

    `slots` (rows, steps, batch size) are those that a step's examples take, the last column of a buffer for an example
    that is not kept; `offered` and `held` (rows, steps + 1) count the examples before each step, and after the last.
    """

    slots: Tensor
    offered: Tensor
    held: Tensor


@dataclass(frozen=True)
class ReplayDraws:
    """What an ingredient draws in each step of `task`. `has` (rows, steps + 1) bool: which rows have something to draw
    from before each step, and after the last; the others get some examples that mean nothing. No row has any before
    step `first`.

    They are `made_up`; or `places` (rows, steps, n) point into the buffers' `indices` (rows, longest buffer) and the
    logits `stored` with them, which change with each step where there is a `filling`. `pictures` are what the network
    sees of these.
    """

    context: PackContext
    task: int
    has: Tensor
    first: int
    made_up: MadeUp | None = None
    places: Tensor | None = None
    indices: Tensor | None = None
    stored: Tensor | None = None
    filling: Filling | None = None
    pictures: Pictures | None = None

    @staticmethod
    def of(context: PackContext, stack: Stack, ingredient: ReplayLoss, task: int, orders: Tensor) -> ReplayDraws:
        """The draws of `ingredient` in `task`, whose batches are cut from `orders` (rows, epochs, n)."""
        if isinstance(ingredient, BufferedOnline):
            return _online(context, stack, ingredient, task, orders)
        context.lifted.module.eval()  # a source may ask it, and a restored pack's is not yet
        if isinstance(ingredient, Generator):
            return _made_up(context, stack, ingredient, task, orders)
        assert isinstance(ingredient, Buffered)  # `checked_class` saw to it
        n_steps = orders.shape[1] * _steps_per_epoch(context, orders)
        buffers = buffers_within(context, stack, ingredient, task)
        lengths = [len(buffer.indices) for buffer in buffers]
        rows = torch.tensor([length > 0 for length in lengths], device=context.device)
        indices, stored = None, None
        if any(lengths):
            indices = _padded_indices(buffers, context, max(lengths))
            stored = _padded_logits(buffers, context, max(lengths)) if ingredient.stores_logits else None
        places = _places(context, stack, ingredient, task, np.repeat(np.array(lengths)[:, None], n_steps, 1))
        has = rows.unsqueeze(1).expand(-1, n_steps + 1)
        known = None
        if indices is not None and context.store.travels:  # else nobody needs to know them before
            known = indices.unsqueeze(1).expand(-1, n_steps, -1).gather(2, places)
        pictures = Pictures.of_draws(context, stack, task, _steps_per_epoch(context, orders), places.shape[2], known)
        return ReplayDraws(context, task, has, 0, None, places, indices, stored, None, pictures)

    @property
    def rows(self) -> Tensor:
        """Which rows have something to draw from in the end, (rows,) bool."""
        return self.has[:, -1]

    def some(self, rows: slice | Tensor) -> ReplayDraws:
        """What is drawn for some rows alone; those of a slice share what changes with this."""
        return replace(
            self,
            has=self.has[rows],
            made_up=self.made_up and self.made_up.rows(rows),
            places=None if self.places is None else self.places[rows],
            indices=None if self.indices is None else self.indices[rows],
            stored=None if self.stored is None else self.stored[rows],
            filling=self.filling and Filling(*(part[rows] for part in self.filling)),
            pictures=self.pictures and self.pictures.rows(rows),
        )

    def examples(self, step: int) -> DrawnExamples:
        """The draws of step `step`, counted from 0."""
        if self.made_up is not None:
            return DrawnExamples(*self.made_up.examples(step), None)
        assert self.places is not None
        assert self.indices is not None
        assert self.pictures is not None
        places = self.places[:, step]
        row = torch.arange(len(places), device=places.device).unsqueeze(1)
        indices = self.indices[row, places]
        outputs = self.context.outputs
        mask = outputs.masks[self.task][outputs.task_of[indices]]
        stored = None if self.stored is None else self.stored[row, places]
        return DrawnExamples(self.pictures.of(indices, step), outputs.labels[indices], mask, stored)

    # ------------------------------------------------------------------ a buffer that is filled online

    def offer(self, step: int, indices: Tensor, logits: Tensor) -> None:
        """Has the buffers take in the examples `indices` (rows, n) of step `step`, and their `logits` in it (rows, n,
        n_outputs), with minus infinity at the outputs that are inactive for the example."""
        if self.filling is None or self.indices is None or self.stored is None:
            return
        slots = self.filling.slots[:, step, : indices.shape[1]]
        row = torch.arange(len(slots), device=slots.device).unsqueeze(1)
        outputs = self.context.outputs
        active = outputs.masks[self.task][outputs.task_of[indices]]
        self.indices[row, slots] = indices
        self.stored[row, slots] = logits.masked_fill(~active, -torch.inf)

    def close(self, finished: Tensor) -> None:
        """Has the buffers of the rows (rows,) bool that have finished the task take in nothing more."""
        if self.filling is not None and self.indices is not None:
            self.filling.slots.masked_fill_(finished[:, None, None], self.indices.shape[1] - 1)

    def moving(self) -> dict[str, Tensor]:
        """What changes with each step."""
        assert self.filling is not None
        assert self.indices is not None
        assert self.stored is not None
        return {"slots": self.filling.slots, "indices": self.indices, "stored": self.stored}

    def filled(self, steps: Sequence[int]) -> list[Buffer]:
        """The buffer of each row after so many `steps` of the task."""
        assert self.filling is not None
        assert self.indices is not None
        assert self.stored is not None
        buffers = []
        for row, step in enumerate(steps):
            n, offered = int(self.filling.held[row, step]), int(self.filling.offered[row, step])
            indices, logits = (part[row, :n].cpu().numpy().copy() for part in (self.indices, self.stored))
            buffers.append(Buffer(indices, offered, logits))
        return buffers


def _made_up(context: PackContext, stack: Stack, ingredient: Generator, task: int, orders: Tensor) -> ReplayDraws:
    """Those that are made up."""
    assert isinstance(ingredient, ReplayLoss)  # `checked_class` saw to it
    steps, size = _steps_per_epoch(context, orders), ingredient.n_draws(int(context.settings["batch_size"]))
    # One that is switched off must not even see the network with its examples.
    has = stack.over_rows(ingredient.is_on, stack.values_of(ingredient))
    has = has.unsqueeze(1).expand(-1, orders.shape[1] * steps + 1)
    return ReplayDraws(context, task, has, 0, MadeUp.of(context, stack, ingredient, task, steps, size))


def _online(context: PackContext, stack: Stack, ingredient: BufferedOnline, task: int, orders: Tensor) -> ReplayDraws:
    """Those from a buffer that is filled online."""
    assert isinstance(ingredient, ReplayLoss)  # `checked_class` saw to it
    buffers, batch_size = stack.buffers[ingredient.name], int(context.settings["batch_size"])
    own = (context.outputs.task_of[orders] == task).cpu().numpy()  # what others mix in is not new
    plans = [
        _plan(ingredient, run, buffer, task, in_batches(new, batch_size))
        for run, buffer, new in zip(stack.representatives, buffers, own, strict=True)
    ]
    slots, offered, held = (np.stack(part) for part in zip(*plans, strict=True))
    width = int(held.max())
    filling = Filling(*(torch.from_numpy(part).to(context.device) for part in (slots, offered, held)))
    filling.slots[filling.slots < 0] = width
    places = _places(context, stack, ingredient, task, held[:, :-1])
    first = int((held > 0).any(0).argmax())
    indices, stored = _padded_indices(buffers, context, width + 1), _padded_logits(buffers, context, width + 1)
    pictures = Pictures.of_draws(context, stack, task, _steps_per_epoch(context, orders), places.shape[2])
    return ReplayDraws(context, task, filling.held > 0, first, None, places, indices, stored, filling, pictures)


def _plan(
    ingredient: BufferedOnline, run: RunSpec, buffer: Buffer, task: int, new: NDArray[np.bool_]
) -> tuple[Indices, Indices, Indices]:
    """The `Filling` of one row (-1 for what is not kept), given which examples of each step are `new` (steps, batch
    size). Of several that take one slot in a step the last one stays."""
    slots = np.full(new.shape, -1, np.int64)
    rng = generator(run.seed, "buffer", task)
    slots[new] = ingredient.slots(buffer.offered, int(new.sum()), run.numbers, rng)
    offered = buffer.offered + np.concatenate([[0], new.sum(1).cumsum()])
    held = np.maximum.accumulate(np.concatenate([[len(buffer.indices)], slots.max(1) + 1]))
    for step in slots:
        last = {slot: k for k, slot in enumerate(step.tolist())}
        step[:] = [slot if last[slot] == k else -1 for k, slot in enumerate(step.tolist())]
    return slots, offered, held


def in_batches(values: NDArray[np.bool_], batch_size: int) -> NDArray[np.bool_]:
    """(steps, batch_size): what (epochs, n) says of examples, by step; False where a last batch of an epoch has none.

    >>> in_batches(np.array([[True, True, False]]), 2).tolist()
    [[True, True], [False, False]]
    """
    short = -values.shape[1] % batch_size
    return np.pad(values, ((0, 0), (0, short))).reshape(-1, batch_size)


def _places(context: PackContext, stack: Stack, ingredient: ReplayLoss, task: int, held: Indices) -> Tensor:
    """(rows, steps, n): what is drawn in each step, where there are `held` (rows, steps) examples."""
    size = ingredient.n_draws(int(context.settings["batch_size"]))
    drawn = [
        generator(run.seed, "draw", task).integers(np.maximum(1, n)[:, None], size=(len(n), size))
        for run, n in zip(stack.representatives, held, strict=True)
    ]
    return torch.from_numpy(np.stack(drawn)).to(context.device)


def _steps_per_epoch(context: PackContext, orders: Tensor) -> int:
    return -(-orders.shape[2] // int(context.settings["batch_size"]))


def _padded_indices(buffers: Sequence[Buffer], context: PackContext, width: int) -> Tensor:
    padded = np.zeros((len(buffers), width), np.int64)
    for row, buffer in enumerate(buffers):
        padded[row, : len(buffer.indices)] = buffer.indices
    return torch.from_numpy(padded).to(context.device)


def _padded_logits(buffers: Sequence[Buffer], context: PackContext, width: int) -> Tensor:
    padded = torch.zeros(len(buffers), width, context.outputs.n_outputs)
    for row, buffer in enumerate(buffers):
        if buffer.logits is not None:
            padded[row, : len(buffer.logits)] = torch.from_numpy(buffer.logits)
    return padded.to(context.device)
