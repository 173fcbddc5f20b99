"""Buffers of examples: which of a task's examples get in, and how they get into a batch.

The functions are for the ingredients' `update_buffer`, `slots` and `mix_in`, and run on the host.
"""

from __future__ import annotations

import numpy as np

from cfsweep.training.ingredients._arguments import Buffer
from cfsweep.training.ingredients._base import Indices


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
    # All slots are drawn at once; where one is hit twice, the later example stays.
    slot = reservoir_slots(buffer.offered, len(examples), capacity, rng)
    for position, example in zip(slot[slot >= 0], examples[slot >= 0], strict=True):
        kept[position] = example
    return Buffer(kept, buffer.offered + len(examples))


def reservoir_slots(offered: int, n: int, capacity: int, rng: np.random.Generator) -> Indices:
    """The slot that each of the next `n` examples takes when `offered` have been offered before, (n,); -1 for none.

    The j-th example ever offered, from 0, takes slot j while there is room, else a slot drawn from 0..j if that exists.

    References:
        Vitter 1985, "Random Sampling with a Reservoir", algorithm R.

    >>> reservoir_slots(1, 2, 3, np.random.default_rng(0)).tolist()
    [1, 2]
    """
    number = offered + np.arange(n)
    slot = np.where(number < capacity, number, rng.integers(number + 1))
    return np.where(slot < capacity, slot, -1)


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


def greedily_balanced(
    buffer: Buffer, examples: Indices, classes: Indices, capacity: int, rng: np.random.Generator
) -> Buffer:
    """The buffer after `examples` (n,), which come in this order: a class takes what comes first, up to its share.

    `classes` (n_examples,) is the class of each example of the store. The share is the capacity by the number of
    classes seen before. An example of a class that is new or below its share gets in; in a full buffer it takes the
    place of a random one of the largest class (of several, the one with the lowest number).

    References:
        Prabhu, Torr & Dokania 2020 (GDumb), algorithm 1.

    >>> start, classes = Buffer(np.empty(0, np.int64), 0), np.array([0, 0, 0, 0, 0, 0, 0, 1, 2])
    >>> after = greedily_balanced(start, np.arange(9), classes, 4, np.random.default_rng(0))
    >>> np.bincount(classes[after.indices]).tolist(), after.offered
    ([2, 1, 1], 9)
    """
    if not capacity:
        return Buffer(buffer.indices, buffer.offered + len(examples))
    kept, n_classes = buffer.indices.copy(), int(classes.max()) + 1
    held, counts = np.bincount(classes[kept], minlength=n_classes), buffer.offered_by_class
    offered = np.zeros(n_classes, np.int64) if counts is None else counts.copy()
    for example, u in zip(examples, rng.random(len(examples)), strict=True):
        own, n_seen = classes[example], np.count_nonzero(offered)
        offered[own] += 1
        if offered[own] > 1 and held[own] * n_seen >= capacity:  # its count C is not below k_c = k / |Y|
            continue
        if len(kept) < capacity:
            kept = np.append(kept, example)
        else:
            largest = held.argmax()
            slots = np.flatnonzero(classes[kept] == largest)
            kept[slots[int(u * len(slots))]] = example
            held[largest] -= 1
        held[own] += 1
    return Buffer(kept, buffer.offered + len(examples), offered_by_class=offered)


def latest_of_each_class(examples: Indices, classes: Indices, n: int) -> Indices:
    """Of `examples`, which came in this order, the `n` that a ring for each class holds; fewer if a class is small.

    The classes among the examples have equal parts of the `n`, as far as whole numbers allow, and of each class the
    latest stay. `classes` (n_examples,) is the class of each example of the store.

    References:
        The ring buffers of the code beside Chaudhry et al. 2019 (A-GEM).

    >>> latest_of_each_class(np.array([5, 3, 0, 1, 4, 2]), np.array([0, 0, 0, 1, 1, 1]), 3).tolist()
    [2, 3, 4]
    """
    labels = np.unique(classes[examples])
    ends = n * np.arange(len(labels) + 1) // max(1, len(labels))
    own = [examples[classes[examples] == label] for label in labels]
    parts = [those[max(0, len(those) - size) :] for those, size in zip(own, np.diff(ends), strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def passes(n: int, buffer: Buffer, rng: np.random.Generator) -> Indices:
    """`n` examples of a buffer that holds some: one shuffled pass over it after the other, the last one cut short.

    >>> sorted(passes(4, Buffer(np.array([7, 8]), 2), np.random.default_rng(0)).tolist())
    [7, 7, 8, 8]
    """
    n_passes = -(-n // len(buffer.indices))
    return np.concatenate([rng.permutation(buffer.indices) for _ in range(n_passes)])[:n]


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
