"""What the network sees of the examples of a task's steps: themselves, or other pictures of them in each epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.engine.feed import Feed
from cfsweep.training.engine.randomness import generator
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack


@dataclass(frozen=True)
class Pictures:
    """Those of `per_step` examples in each of an epoch's `steps`, in runs of the `seeds` (rows,).

    What is drawn for an example goes by the run's seed, the task, the epoch and its place in the batch: runs of one
    seed see the same pictures, whatever their neighbours. It is drawn for an epoch at a time, when its first step is
    asked for. `purpose` tells the batches from what is drawn beside them, whose pictures are others. A `feed` has the
    examples of all steps on their way to the device, where they lie elsewhere, and all rows came of one.
    """

    context: PackContext
    task: int
    seeds: tuple[int, ...]
    purpose: Literal["augment", "augment_drawn"]
    steps: int
    per_step: int
    feed: Feed | None = None
    _epoch: dict[int, list[Tensor]] = field(default_factory=dict)  # what is drawn for the one at hand, by its number

    @staticmethod
    def of_batches(context: PackContext, stack: Stack, task: int, orders: Tensor) -> Pictures:
        """Of batches that are cut from `orders` (rows, epochs, n)."""
        size = int(context.settings["batch_size"])
        batches = [batch for epoch in orders[0] for batch in epoch.split(size)] if len(orders) == 1 else []
        feed = _feed(context, batches)
        return Pictures(context, task, _seeds(stack), "augment", -(-orders.shape[2] // size), size, feed)

    @staticmethod
    def of_draws(
        context: PackContext, stack: Stack, task: int, steps: int, per_step: int, known: Tensor | None = None
    ) -> Pictures:
        """Of what is drawn beside the batches, so many in each of an epoch's steps; `known` (rows, all steps, per_step)
        are the examples, where they are known before."""
        feed = _feed(context, [*known[0]] if known is not None and len(known) == 1 else [])
        return Pictures(context, task, _seeds(stack), "augment_drawn", steps, per_step, feed)

    def rows(self, rows: slice | Tensor) -> Pictures:
        """Those of some rows alone."""
        kept: Iterable[int] = np.asarray(self.seeds)[rows if isinstance(rows, slice) else rows.cpu().numpy()].tolist()
        return replace(self, seeds=tuple(kept), _epoch={})

    def of(self, indices: Tensor, step: int) -> Tensor:
        """What the network sees of the examples `indices` (rows, n) in step `step` of the task, counted from 0:
        (rows, n, *input_shape) float32. A last batch may have fewer than `per_step`."""
        store, found = self.context.store, self.context.augmentations
        x = store.kept(indices) if self.feed is None else self._fed(self.feed, len(indices), step)
        if not found:
            return store.seen(x)
        epoch, number = divmod(step, self.steps)
        if epoch not in self._epoch:
            self._epoch.clear()
            self._epoch[epoch] = self._drawn(epoch)
        for augmentation, drawn in zip(found, self._epoch[epoch], strict=True):
            x = augmentation(x, drawn[:, number, : indices.shape[1]])
        return store.seen(x)

    @staticmethod
    def _fed(feed: Feed, n_rows: int, step: int) -> Tensor:
        """As many rows as the one has become: those that part within the first task see the same examples."""
        x = feed.at(step)
        return x.expand(n_rows, *x.shape)

    def _drawn(self, epoch: int) -> list[Tensor]:
        """For each augmentation what is drawn for one epoch, (rows, steps, per_step or 1, k)."""
        by_seed: dict[int, list[Tensor]] = {}
        for seed in dict.fromkeys(self.seeds):
            rng = generator(seed, self.purpose, self.task, epoch)
            drawn = [of.draw(rng, self.steps, self.per_step) for of in self.context.augmentations]
            by_seed[seed] = [torch.from_numpy(numbers) for numbers in drawn]
        by_row = (by_seed[seed] for seed in self.seeds)
        return [torch.stack(numbers).to(self.context.device) for numbers in zip(*by_row, strict=True)]


def _feed(context: PackContext, batches: list[Tensor]) -> Feed | None:
    """What fetches `batches` (n,) of examples, if these have to travel."""
    if not (context.store.travels and batches):
        return None
    return Feed(context.store.x, [batch.cpu() for batch in batches], context.device)


def _seeds(stack: Stack) -> tuple[int, ...]:
    return tuple(run.seed for run in stack.representatives)
