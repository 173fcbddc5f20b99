"""How well the runs of a pack answer each task: between tasks, and in the midst of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cfsweep.training.answering import Answering
from cfsweep.training.engine.evaluation import Answer
from cfsweep.training.pack_context import PackContext
from cfsweep.training.spec import RunRecord
from cfsweep.training.stack import Stack


class Scoring:
    """Evaluates the weights that lie in `stack` at the moment. It sets the network to evaluation."""

    def __init__(self, context: PackContext, stack: Stack) -> None:
        self.context, self.stack = context, stack

    def weights_for(self, task: int, learned: int) -> Tensor:
        """The weights (rows, P) that answer for `task` after `learned` tasks have ended."""
        theta = self.stack.theta
        for ingredient in self.context.timeline.task_weights if task < learned else ():
            theta = self.stack.over_rows(
                lambda t, s, v, i=ingredient: i.weights_for(t, s, v, task),
                theta,
                self.stack.states[ingredient.name],
                self.stack.values_of(ingredient),
            )
        return theta

    def predictions(self, task: int, learned: int, part: str) -> Tensor:
        """(runs alive, n, ...): what each run predicts for the `part` examples of `task`, after `learned` tasks."""
        weights, answer, place_of = self._answering(task, learned)
        return self.context.evaluator.predictions(weights, task, learned, part, answer)[place_of]

    def scores(self, task: int, learned: int, part: str) -> Tensor:
        """(scores, runs alive) float64: how well each run answers them, NaN without any."""
        weights, answer, place_of = self._answering(task, learned)
        return self.context.evaluator.scores(weights, task, learned, part, answer)[:, place_of]

    def within(self, task: int, part: str, learned: int, tasks: Iterable[int]) -> Tensor:
        """(rows, T) float64: in the midst of `task`, the score that steers on the `part` examples of each of `tasks`; 0
        for others. `part` and `learned` as for the evaluator. The network trains again afterwards."""
        context = self.context
        context.lifted.module.eval()
        scores = torch.zeros(len(self.stack), len(context.stream.tasks), dtype=torch.float64, device=context.device)
        answering = Answering(context, self.stack, task if learned > task else None, learned=0)
        for seen in tasks:
            theta = self.weights_for(seen, task)
            answer = answering.by_weights(theta)
            scores[:, seen] = context.evaluator.scores(theta, seen, learned, part, answer, context.scores[:1])[0]
        context.lifted.train_mode()
        return scores

    def note(self, records: Sequence[RunRecord], learned: int) -> None:
        """Puts into the records of the runs alive how they answer every task, of the parts that score them, after
        `learned` tasks; of the last of these the buffers are not yet renewed."""
        if not self.stack.alive:
            return
        context = self.context
        context.lifted.module.eval()
        answering = Answering(context, self.stack, learned - 1 if learned else None, learned)
        weights = [answering.spread(self.weights_for(i, learned)) for i in range(len(context.stream.tasks))]
        answers = [answering.by_weights(theta) for theta in weights]
        for part in context.spec.parts:
            by_task = [
                context.evaluator.scores(theta, i, learned, part, answer)
                for i, (theta, answer) in enumerate(zip(weights, answers, strict=True))
            ]
            steering, *further = torch.stack(by_task, -1).tolist()  # (scores, answers, T)
            for i, place in zip(self.stack.alive, answering.place_of, strict=True):
                getattr(records[i], part).append(steering[place])
                for score, rows in zip(context.scores[1:], further, strict=True):
                    records[i].further.setdefault(part, {}).setdefault(score.name, []).append(rows[place])

    def note_curves(self, records: Sequence[RunRecord], task: int, step: int, moving: Tensor) -> None:
        """Puts into the records the validation score on each task seen, in the midst of `task`, of the rows that are
        `moving`, (rows,) bool."""
        scores = self.within(task, "validation", task + 1, range(task + 1)).tolist()
        still = moving.tolist()
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            if still[row]:
                records[i].curves += [(task, step, seen, scores[row][seen]) for seen in range(task + 1)]

    def _answering(self, task: int, learned: int) -> tuple[Tensor, Answer | None, Tensor]:
        """The weights that answer for `task` now, (answers, P), what does in place of the output layer, and the answer
        of each run alive, (runs,)."""
        self.context.lifted.module.eval()
        answering = Answering(self.context, self.stack, ends=None, learned=learned)
        weights = answering.spread(self.weights_for(task, learned))
        places = torch.from_numpy(answering.place_of).to(self.context.device)
        return weights, answering.by_weights(weights), places
