"""Buffers of old examples: which of a finished task's examples get in, and how they get into a batch.

The functions are for the ingredients' `update_buffer` and `mix_in`, and run on the host.
"""

from __future__ import annotations

import numpy as np

from cfsweep.training.ingredients._base import Indices
from cfsweep.training.ingredients._pieces import Buffer


def reservoir(buffer: Buffer, examples: Indices, capacity: int, rng: np.random.Generator) -> Buffer:
    """The buffer after `examples` (n,): a uniform sample, without repetition, of all examples offered so far.

    References:
        Vitter 1985, "Random Sampling with a Reservoir", algorithm R.

    >>> first = reservoir(Buffer(np.empty(0, np.int64), 0), np.arange(3), 4, np.random.default_rng(0))
    >>> first.indices.tolist(), first.offered
    ([0, 1, 2], 3)
    >>> len(reservoir(first, np.arange(3, 9), 4, np.random.default_rng(0)).indices)
    4
    """
    kept = _enlarged(buffer, len(examples), capacity)
    # Algorithm R: the j-th example ever offered takes slot j while there is room, else a slot drawn from
    # 0..j if that slot exists. All slots are drawn at once; where one is hit twice, the later example stays.
    number = buffer.offered + np.arange(len(examples))
    slot = np.where(number < capacity, number, rng.integers(number + 1))
    for position, example in zip(slot[slot < capacity], examples[slot < capacity], strict=True):
        kept[position] = example
    return Buffer(kept, buffer.offered + len(examples))


def class_balanced(
    buffer: Buffer, examples: Indices, classes: Indices, capacity: int, rng: np.random.Generator
) -> Buffer:
    """The buffer after `examples` (n,): as many of each class as there is room for, uniformly drawn within a class.

    `classes` (n_examples,) is the class of each example of the store. From the moment the buffer is full, no class
    has two examples more than another one, unless the other one is kept whole. A class is *full* when it is, or since
    the buffer became so has been, a largest one. An example of a class that is not full takes the place of one of a
    largest class; the others compete within their class, as in a reservoir.

    References:
        Chrysakis & Moens 2020, "Online Continual Learning from Imbalanced Data", algorithm 1.

    >>> start = Buffer(np.empty(0, np.int64), 0)
    >>> after = class_balanced(start, np.arange(9), np.array([0, 0, 0, 0, 0, 0, 0, 1, 2]), 4, np.random.default_rng(0))
    >>> sorted(after.indices.tolist())[2:]
    [7, 8]
    """
    if not capacity:
        return Buffer(buffer.indices, buffer.offered + len(examples))
    kept, filled = _enlarged(buffer, len(examples), capacity), len(buffer.indices)
    n_classes = int(classes.max()) + 1
    held = np.bincount(classes[buffer.indices], minlength=n_classes)
    counts = buffer.offered_by_class
    offered = np.zeros(n_classes, np.int64) if counts is None else counts.copy()
    for example, u in zip(examples, rng.random(len(examples)), strict=True):
        own = classes[example]
        offered[own] += 1
        if filled < len(kept):
            slot, filled = filled, filled + 1
            held[own] += 1
        elif offered[own] == held[own] + 1 and held[own] < held.max():  # never lost one, no largest: not full
            largest = np.flatnonzero(held[classes[kept]] == held.max())
            slot = largest[int(u * len(largest))]
            held[classes[kept[slot]]] -= 1
            held[own] += 1
        elif u * offered[own] < held[own]:  # with probability m/n, one of the class's own m
            slot = np.flatnonzero(classes[kept] == own)[int(u * offered[own])]
        else:
            continue
        kept[slot] = example
    return Buffer(kept, buffer.offered + len(examples), offered_by_class=offered)


def mixed_in(order: Indices, batch_size: int, ratio: float, buffer: Buffer, rng: np.random.Generator) -> Indices:
    """One epoch's examples (n,): at the head of each batch round(ratio·size) places go to draws from the buffer.

    Draws are with replacement; halves round up. The batches keep their size.

    >>> mixed = mixed_in(np.arange(6), 3, 0.5, Buffer(np.array([9]), 1), np.random.default_rng(0))
    >>> mixed.tolist()
    [9, 9, 2, 9, 9, 5]
    """
    if not len(buffer.indices):
        return order
    place = np.arange(len(order))
    batch = place // batch_size
    size = np.minimum(batch_size, len(order) - batch * batch_size)
    replayed = place % batch_size < np.floor(ratio * size + 0.5)
    draws = buffer.indices[rng.integers(len(buffer.indices), size=len(order))]
    return np.where(replayed, draws, order)


def _enlarged(buffer: Buffer, n_offered: int, capacity: int) -> Indices:
    """A copy of the buffer's indices with room for what will have been offered, up to `capacity`."""
    size = min(capacity, buffer.offered + n_offered)
    return np.resize(buffer.indices, size) if size else buffer.indices.copy()
