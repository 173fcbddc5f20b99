"""Which examples each run sees in which order, decided on the host before a task begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Buffer, MixedReplay
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream

Indices = NDArray[np.int64]


def training_examples(stream: Stream, task: int, joint: bool) -> Indices:
    """The training examples of `task`, or of all tasks up to it."""
    if joint:
        return np.concatenate([t.train for t in stream.tasks[: task + 1]])
    return stream.tasks[task].train


def shuffled(run: RunSpec, examples: Indices, task: int, epoch: int) -> Indices:
    """The training examples (n,) of `task` in the order of an epoch."""
    return generator(run.seed, "order", task, epoch).permutation(examples)


def orders(
    runs: Sequence[RunSpec],
    examples: Indices,
    task: int,
    epochs: int,
    batch_size: int,
    mixed_replays: Sequence[MixedReplay],
    buffers: Mapping[str, Sequence[Buffer]],
) -> Indices:
    """(runs, epochs, n): the examples of each epoch in order; batches are consecutive slices of `batch_size`."""
    order = np.empty((len(runs), epochs, len(examples)), np.int64)
    for row, run in enumerate(runs):
        for epoch in range(epochs):
            mixed = shuffled(run, examples, task, epoch)
            for ingredient in mixed_replays:
                rng = generator(run.seed, "mix", task, epoch)
                mixed = ingredient.mix_in(mixed, batch_size, buffers[ingredient.name][row], run.numbers, rng)
            order[row, epoch] = mixed
    return order


def examples_to_consolidate(
    runs: Sequence[RunSpec], examples: Indices, task: int, size: int, n_noise: int, label_shape: tuple[int, ...] = ()
) -> tuple[Indices, NDArray[np.float32], NDArray[np.float32]]:
    """For each run `size` distinct examples, (runs, size), and for each of them uniform numbers in [0, 1), (runs, size,
    *label_shape), and standard normal noise (runs, size, n_noise)."""
    chosen, uniform, noise = [], [], []
    for run in runs:
        picked = generator(run.seed, "examples", task).choice(len(examples), size, replace=False)
        chosen.append(examples[np.sort(picked)])
        uniform.append(generator(run.seed, "label", task).random((size, *label_shape), np.float32))
        noise.append(generator(run.seed, "noise", task).standard_normal((size, n_noise), np.float32))
    return np.stack(chosen), np.stack(uniform), np.stack(noise)
