"""How a pack's runs answer where an ingredient does it in place of the output layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cfsweep.training.engine.evaluation import Answer
from cfsweep.training.ingredients import Buffer, Classifier, Held
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack
from cfsweep.training.task_end import renewed_buffers


class Answering:
    """What answers for the output layer in one evaluation. `ends` is the task that is being trained, or has just been:
    then the buffers are what they would be if it ended now; None takes those that there are."""

    def __init__(self, context: PackContext, stack: Stack, ends: int | None) -> None:
        self.context, self.by = context, context.timeline.classifiers
        self.buffers: Sequence[Buffer] = ()
        for classifier in self.by:  # one or none: `hypers_of` saw to it
            self.buffers = stack.buffers[classifier.name]
            if ends is not None:
                self.buffers = renewed_buffers(context, stack, classifier, ends)
        self._latest: tuple[Tensor, Answer] | None = None

    def by_weights(self, theta: Tensor) -> Answer | None:
        """That of the weights (rows, P); None where the output layer answers for every row."""
        if not any(len(buffer.indices) for buffer in self.buffers):
            return None
        if self._latest is None or self._latest[0] is not theta:  # the tasks are mostly answered by the same weights
            self._latest = theta, _answer(self.context, self.by[0], theta, self.buffers)
        return self._latest[1]


def _answer(context: PackContext, classifier: Classifier, theta: Tensor, buffers: Sequence[Buffer]) -> Answer:
    """Row by row, as each holds as many examples as it likes, and what it sees of them depends on no neighbour."""
    held = [_held(context, theta[row : row + 1], buffer) for row, buffer in enumerate(buffers)]

    def answer(logits: Tensor, features: Tensor) -> Tensor:
        outputs = [
            own if kept is None else classifier.outputs_for(seen, kept)
            for own, seen, kept in zip(logits, features, held, strict=True)
        ]
        return torch.stack(outputs)

    return answer


def _held(context: PackContext, theta: Tensor, buffer: Buffer) -> Held | None:
    if not len(buffer.indices):
        return None
    indices = torch.from_numpy(buffer.indices).to(context.device)
    return Held(context.evaluator.features(theta, indices)[0], context.outputs.labels[indices])
