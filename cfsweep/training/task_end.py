"""What the ingredients make of a task that has ended, and what is kept until the next one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.training import batches
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import (
    Buffer,
    Buffered,
    ClosedForm,
    Consolidation,
    Examples,
    Features,
    Generator,
    RankedBuffer,
    State,
)
from cfsweep.training.pack_context import PackContext
from cfsweep.training.spec import RunSpec
from cfsweep.training.stack import Stack, over_one_row

EXAMPLE_BYTES = 2**26  # of examples and their noise that `consolidate` sees at once


def consolidated_state(
    context: PackContext, stack: Stack, ingredient: Consolidation, task: int, examples: NDArray[np.int64]
) -> State:
    """The ingredient's state of every row after `task`, whose training examples are `examples` (n,)."""
    size = ingredient.n_examples(len(examples))
    row_bytes = 4 * max(1, size * (int(np.prod(context.stream.input_shape)) + ingredient.n_noise()))
    at_once = max(1, EXAMPLE_BYTES // row_bytes) if context.lifted.stack is not None else 1
    alone = at_once == 1 and size > 0 and not context.examples_can_be_lifted
    over_rows = over_one_row if alone else stack.over_rows
    old, values = stack.states[ingredient.name], stack.values_of(ingredient)
    pieces = []
    for at in range(0, len(stack), at_once):
        rows = slice(at, at + at_once)
        runs = stack.representatives[rows]
        chosen, uniform, noise = batches.examples_to_consolidate(
            runs, examples, task, size, ingredient.n_noise(), context.outputs.labels.shape[1:]
        )
        indices = torch.from_numpy(chosen).to(context.device)
        pieces.append(
            over_rows(
                lambda t, s, v, *seen: ingredient.consolidate(t, s, v, task, Examples(*seen)),
                stack.theta[rows],
                {k: v[rows] for k, v in old.items()},
                {k: v[rows] for k, v in values.items()},
                context.store[indices],
                context.outputs.labels[indices],
                context.outputs.masks[task][context.outputs.task_of[indices]],
                torch.from_numpy(uniform).to(context.device),
                torch.from_numpy(noise).to(context.device),
            )
        )
    return {k: torch.cat([piece[k] for piece in pieces]) for k in pieces[0]}


def accumulated_state(context: PackContext, stack: Stack, ingredient: ClosedForm, examples: NDArray[np.int64]) -> State:
    """The closed form's state of every row after a task whose training examples are `examples` (n,). It is taken row by
    row, so that it depends on no neighbour; of a row where it is off it stays as it is."""
    indices = torch.from_numpy(examples).to(context.device)
    labels, old = context.outputs.labels[indices], stack.states[ingredient.name]
    states = []
    for row, run in enumerate(stack.representatives):
        state = {name: value[row] for name, value in old.items()}
        if not ingredient.is_off(run.values):
            features = context.evaluator.features(stack.theta[row : row + 1], indices)[0]
            state = ingredient.accumulate(state, features, labels, generator(run.seed, "projection"))
        states.append(state)
    return {name: torch.stack([state[name] for state in states]) for name in old}


def buffers_within(context: PackContext, stack: Stack, ingredient: Buffered, task: int) -> list[Buffer]:
    """The ingredient's buffer of each row while `task`, which is about to begin, is trained."""
    if ingredient.holds_current_task:
        return renewed_buffers(context, stack, ingredient, task)
    return stack.buffers[ingredient.name]


def renewed_buffers(context: PackContext, stack: Stack, ingredient: Buffered, task: int) -> list[Buffer]:
    """The ingredient's buffer of each row after `task`."""
    buffers, examples, last = [], context.stream.tasks[task].train, int(context.settings["epochs"]) - 1
    for row, (old, run) in enumerate(zip(stack.buffers[ingredient.name], stack.representatives, strict=True)):
        come = batches.shuffled(run, examples, task, last) if ingredient.as_they_come else examples
        if isinstance(ingredient, RankedBuffer):
            come = ingredient.rank(old, come, _features(context, stack, row), run.numbers)
        new = ingredient.update_buffer(old, come, run.numbers, generator(run.seed, "buffer", task))
        buffers.append(_with_logits(context, stack, row, task, old, new) if ingredient.stores_logits else new)
    return buffers


def _features(context: PackContext, stack: Stack, row: int) -> Features:
    """Those of one row's weights. They are taken row by row, so that what is kept depends on no neighbour; the
    network must answer as in evaluation."""

    def of(examples: NDArray[np.int64]) -> NDArray[np.float32]:
        found = context.evaluator.features(stack.theta[row : row + 1], torch.from_numpy(examples).to(context.device))
        features: NDArray[np.float32] = found[0].cpu().numpy()
        return features

    return of


def _with_logits(context: PackContext, stack: Stack, row: int, task: int, old: Buffer, new: Buffer) -> Buffer:
    """The buffer `new` of one row after `task`, with the logits of its examples: those stored in `old`, else those that
    they have now, with minus infinity at the outputs that are inactive for the example."""
    logits = np.zeros((len(new.indices), context.outputs.n_outputs), np.float32)
    place = {index: k for k, index in enumerate(old.indices.tolist())}
    known = np.array([index in place for index in new.indices.tolist()], bool)
    if old.logits is not None and known.any():
        logits[known] = old.logits[[place[index] for index in new.indices[known].tolist()]]
    if not known.all():
        fresh = torch.from_numpy(new.indices[~known]).to(context.device)
        with torch.no_grad():
            weights = context.layout.unflatten(stack.theta[row : row + 1])
            own = context.lifted(weights, context.store[fresh].unsqueeze(0))[0]
        active = context.outputs.masks[task][context.outputs.task_of[fresh]]
        logits[~known] = own.masked_fill(~active, -torch.inf).cpu().numpy()
    return replace(new, logits=logits)


def buffer_rows(
    context: PackContext, ingredient: str, buffer: Buffer, task: int
) -> list[tuple[str, int, int, int, int]]:
    """What the `buffer` of an ingredient holds after `task`: (ingredient, after_task, task, class, number of examples)
    in that order."""
    tasks = context.outputs.task_of.cpu().numpy()[buffer.indices].tolist()
    counts = Counter(zip(tasks, context.target.classes(context.stream)[buffer.indices].tolist(), strict=True))
    return [(ingredient, task, old, label, n) for (old, label), n in sorted(counts.items())]


def stored_bytes(context: PackContext, stack: Stack, run: RunSpec, row: int, task: int) -> int:
    """What one run must keep after `task` beside its network: the state and the buffers of the ingredients that are on,
    the steering examples of all tasks so far where one of them looks at old ones, and what the optimizer keeps from
    task to task."""
    total = sum(value[0].numel() * value.element_size() for value in stack.optimizer.values())
    if context.spec.joint:  # it needs the data of all tasks so far again
        n_examples = len(batches.training_examples(context.stream, task, joint=True))
        return total + n_examples * context.store.example_bytes
    for ingredient in context.ingredients:
        if not ingredient.is_off(run.values):
            state = ingredient.kept({name: value[row] for name, value in stack.states[ingredient.name].items()})
            total += sum(value.numel() * value.element_size() for value in state.values())
            if isinstance(ingredient, Generator):  # beside the next task's weights those of this one, which label
                total += stack.theta[row].numel() * stack.theta.element_size()
        total += stack.buffers[ingredient.name][row].n_bytes(context.store.example_bytes)
    if any(rule.looks_at_old and not rule.is_off(run.values) for rule in context.timeline.stop_rules):
        total += sum(len(seen.steering) for seen in context.stream.tasks[: task + 1]) * context.store.example_bytes
    return total
