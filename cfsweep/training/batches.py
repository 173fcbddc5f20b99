"""Which examples each run sees in which order, decided on the host before a task begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cfsweep.training.ingredients import Ingredient, Memory
from cfsweep.training.randomness import generator
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream

Indices = NDArray[np.int64]


def training_examples(stream: Stream, task: int, joint: bool) -> Indices:
    """The training examples of `task`, or of all tasks up to it."""
    if joint:
        return np.concatenate([t.train for t in stream.tasks[: task + 1]])
    return stream.tasks[task].train


def orders(
    runs: Sequence[RunSpec],
    examples: Indices,
    task: int,
    epochs: int,
    batch_size: int,
    ingredients: Sequence[Ingredient],
    memories: Mapping[str, Sequence[Memory]],
) -> Indices:
    """(runs, epochs, n): the examples of each epoch in order; batches are consecutive slices of `batch_size`."""
    order = np.empty((len(runs), epochs, len(examples)), np.int64)
    rehearsing = [ingredient for ingredient in ingredients if ingredient.has("rehearse")]
    for row, run in enumerate(runs):
        for epoch in range(epochs):
            shuffled = generator(run.seed, "order", task, epoch).permutation(examples)
            for ingredient in rehearsing:
                rng = generator(run.seed, "rehearse", task, epoch)
                memory = memories[ingredient.name][row]
                shuffled = ingredient.rehearse(shuffled, batch_size, memory, run.numbers, rng)
            order[row, epoch] = shuffled
    return order


def sample(
    runs: Sequence[RunSpec], examples: Indices, task: int, size: int, noise_size: int
) -> tuple[Indices, NDArray[np.float32], NDArray[np.float32]]:
    """For each run `size` distinct examples, (runs, size), and for each of them a uniform number in [0, 1) and
    standard normal noise (runs, size, noise_size)."""
    chosen, uniform, noise = [], [], []
    for run in runs:
        picked = generator(run.seed, "sample", task).choice(len(examples), size, replace=False)
        chosen.append(examples[np.sort(picked)])
        uniform.append(generator(run.seed, "label", task).random(size, np.float32))
        noise.append(generator(run.seed, "noise", task).standard_normal((size, noise_size), np.float32))
    return np.stack(chosen), np.stack(uniform), np.stack(noise)
