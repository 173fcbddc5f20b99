"""How a pack's runs answer where an ingredient does it in place of the output layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.engine.evaluation import Answer
from cfsweep.training.ingredients import Buffer, ClosedForm, Held, State, Substitute
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack
from cfsweep.training.task_end import renewed_buffers

ByWhat = Held | State
"""What a `Substitute` is given to answer by."""


class Answering:
    """What answers for the output layer in one evaluation. `ends` is the task that is being trained, or has just been:
    then the buffers are what they would be if it ended now; None takes those that there are. A closed form goes by the
    `learned` tasks that have ended, if there are any.

    Runs of one row may answer differently, by values that act in answers alone: `rows` (answers,) has the row of each
    different answer, and `place_of` (runs alive,) the answer of each run. Elsewhere an answer is a row.
    """

    def __init__(self, context: PackContext, stack: Stack, ends: int | None, learned: int) -> None:
        self.context, self.stack = context, stack
        self.rows: NDArray[np.int64] = np.arange(len(stack))
        self.place_of: NDArray[np.int64] = stack.row_of
        self.by: Substitute | None = None
        self.buffers: Sequence[Buffer] = ()
        self.solved: list[State | None] = []
        # One or none of the two: `hypers_of` saw to it.
        for classifier in context.timeline.classifiers:
            self.by, self.buffers = classifier, stack.buffers[classifier.name]
            if ends is not None:
                self.buffers = renewed_buffers(context, stack, classifier, ends)
        for closed_form in context.timeline.closed_forms if learned else ():
            self.by = closed_form
            firsts = self._different_answers(closed_form)
            self.solved = [solved_for(stack, closed_form, run) for run in firsts]
        self._latest: tuple[Tensor, Answer] | None = None

    def spread(self, theta: Tensor) -> Tensor:
        """The weights (answers, P) of those (rows, P); the very same where an answer is a row."""
        if len(self.rows) == len(theta) and (self.rows == np.arange(len(theta))).all():
            return theta
        return theta[torch.from_numpy(self.rows).to(theta.device)]

    def by_weights(self, theta: Tensor) -> Answer | None:
        """That of the weights (answers, P); None where the output layer answers for every one."""
        if not any(len(buffer.indices) for buffer in self.buffers) and not any(map(bool, self.solved)):
            return None
        if self._latest is None or self._latest[0] is not theta:  # the tasks are mostly answered by the same weights
            assert self.by is not None
            held: Sequence[ByWhat | None] = self.solved or [
                held_in(self.context, theta[row : row + 1], buffer) for row, buffer in enumerate(self.buffers)
            ]
            self._latest = theta, _answer(self.by, held)
        return self._latest[1]

    def _different_answers(self, closed_form: ClosedForm) -> list[int]:
        """For each different answer the first of the runs (indices into those alive) that has it."""
        names = [hyper.name for hyper in closed_form.hypers if hyper.takes_effect == "answers"]
        runs = [self.stack.runs[i] for i in self.stack.alive]
        keys = [
            (int(row), *(run.values[name] for name in names)) for row, run in zip(self.stack.row_of, runs, strict=True)
        ]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.rows = np.asarray([key[0] for key in numbers], np.int64)
        self.place_of = np.asarray([numbers[key] for key in keys], np.int64)
        return [keys.index(key) for key in numbers]


def held_in(context: PackContext, theta: Tensor, buffer: Buffer) -> Held | None:
    """What the buffer's examples are to the weights (1, P), for a `Classifier`; None where it has none."""
    if not len(buffer.indices):
        return None
    indices = torch.from_numpy(buffer.indices).to(context.device)
    return Held(context.evaluator.features(theta, indices)[0], context.outputs.labels[indices])


def solved_for(stack: Stack, closed_form: ClosedForm, run: int) -> State | None:
    """What a closed form answers by for one of the runs alive, after one task or more; None where it is off."""
    spec, row = stack.runs[stack.alive[run]], int(stack.row_of[run])
    if closed_form.is_off(spec.values):
        return None
    state = {name: value[row] for name, value in stack.states[closed_form.name].items()}
    return closed_form.solve(state, spec.numbers)


def _answer(by: Substitute, held: Sequence[ByWhat | None]) -> Answer:
    """Row by row, as each holds as many examples as it likes, and what it sees of them depends on no neighbour."""

    def answer(logits: Tensor, features: Tensor) -> Tensor:
        outputs = [
            own if kept is None else by.outputs_for(seen, kept)
            for own, seen, kept in zip(logits, features, held, strict=True)
        ]
        return torch.stack(outputs)

    return answer
