"""What the ingredients make of a task that has ended, and what is to be kept until the next one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.training import batches
from cfsweep.training.ingredients import Ingredient, Sample, State
from cfsweep.training.parts import PackParts
from cfsweep.training.spec import RunSpec
from cfsweep.training.stack import Stack

SAMPLE_BYTES = 2**26  # of examples that `end_task` hooks see at once


def ended_state(
    parts: PackParts, stack: Stack, ingredient: Ingredient, task: int, examples: NDArray[np.int64]
) -> State:
    """The ingredient's state of every row after `task`, whose training examples are `examples` (n,)."""
    size = ingredient.sample_size(len(examples))
    row_bytes = 4 * max(1, size * int(np.prod(parts.stream.input_shape)))
    at_once = max(1, SAMPLE_BYTES // row_bytes) if parts.lifted.stack is not None else 1
    old, pieces = stack.states[ingredient.name], []
    for at in range(0, len(stack), at_once):
        rows = slice(at, at + at_once)
        chosen, uniform, noise = batches.sample(
            stack.representatives[rows], examples, task, size, ingredient.noise_size()
        )
        indices = torch.from_numpy(chosen).to(parts.device)
        pieces.append(
            stack.over_rows(
                lambda t, s, v, *sample: ingredient.end_task(t, s, v, task, Sample(*sample)),
                stack.theta[rows],
                {k: v[rows] for k, v in old.items()},
                {k: v[rows] for k, v in stack.values.items()},
                parts.store[indices],
                parts.outputs.labels[indices],
                parts.outputs.masks[task][parts.outputs.task_of[indices]],
                torch.from_numpy(uniform).to(parts.device),
                torch.from_numpy(noise).to(parts.device),
            )
        )
    return {k: torch.cat([piece[k] for piece in pieces]) for k in old}


def stored_bytes(parts: PackParts, stack: Stack, run: RunSpec, row: int, task: int) -> int:
    """What one run must keep after `task` beside its network."""
    moments = sum(value[0].numel() * value.element_size() for value in stack.optimizer.values())
    if parts.spec.joint:  # it needs the data of all tasks so far again
        return moments + len(batches.training_examples(parts.stream, task, joint=True)) * parts.store.example_bytes
    return moments + sum(
        ingredient.stored_bytes(run.numbers, stack.memories[ingredient.name][row], parts.store.example_bytes)
        for ingredient in parts.ingredients
    )
