"""What is kept of a task's examples when it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.training.ingredients import Ingredient, Memory
from cfsweep.training.parts import PackParts
from cfsweep.training.randomness import generator
from cfsweep.training.stack import Stack


def renewed_memories(
    parts: PackParts, stack: Stack, ingredient: Ingredient, task: int, examples: NDArray[np.int64]
) -> list[Memory]:
    """The ingredient's memory of each row after a task with the training examples `examples` (n,)."""
    memories = []
    for row, (old, run) in enumerate(zip(stack.memories[ingredient.name], stack.representatives, strict=True)):
        new = ingredient.remember(old, examples, run.numbers, generator(run.seed, "remember", task))
        memories.append(_with_logits(parts, stack, row, task, old, new) if ingredient.keeps_logits else new)
    return memories


def _with_logits(parts: PackParts, stack: Stack, row: int, task: int, old: Memory, new: Memory) -> Memory:
    """The memory `new` of one row after `task`, with the logits of its examples: those kept in `old`, else those that
    they have now, with minus infinity at the outputs that are closed to the example."""
    logits = np.zeros((len(new.indices), parts.outputs.n_outputs), np.float32)
    place = {index: k for k, index in enumerate(old.indices.tolist())}
    known = np.array([index in place for index in new.indices.tolist()], bool)
    if old.logits is not None and known.any():
        logits[known] = old.logits[[place[index] for index in new.indices[known].tolist()]]
    if not known.all():
        fresh = torch.from_numpy(new.indices[~known]).to(parts.device)
        with torch.no_grad():
            weights = parts.layout.unflatten(stack.theta[row : row + 1])
            own = parts.lifted(weights, parts.store[fresh].unsqueeze(0))[0]
        is_open = parts.outputs.masks[task][parts.outputs.task_of[fresh]]
        logits[~known] = own.masked_fill(~is_open, -torch.inf).cpu().numpy()
    return replace(new, logits=logits)


def buffer_rows(
    parts: PackParts, ingredient: Ingredient, memory: Memory, task: int
) -> list[tuple[str, int, int, int, int]]:
    """What `memory` holds after `task`: (ingredient, after_task, task, class, number of examples) in that order."""
    tasks = parts.outputs.task_of.cpu().numpy()[memory.indices].tolist()
    counts = Counter(zip(tasks, parts.stream.y.numpy()[memory.indices].tolist(), strict=True))
    return [(ingredient.name, task, old, label, n) for (old, label), n in sorted(counts.items())]
