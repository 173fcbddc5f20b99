"""What answering every example alike would score (the majority-class baseline, ZeroR), and how the classes are spread
over the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import PARTS, Scenario
from cfsweep.training.engine.evaluation import Measure
from cfsweep.training.streams import ClassId, Indices, Stream
from cfsweep.training.targets import Score, scores_of, target_of


@dataclass(frozen=True)
class ConstantAnswer:
    """What answering every example alike would score: by name of the score and by part (`validation`, `test`) (T + 1)
    rows of T, as in a run's record. The score that steers comes first."""

    scores: dict[str, dict[str, list[list[float]]]]

    @property
    def steering(self) -> dict[str, list[list[float]]]:
        """Those of the score that steers, by part."""
        return next(iter(self.scores.values()))

    @property
    def further(self) -> dict[str, dict[str, list[list[float]]]]:
        """Those of the others, by part and name."""
        _, *others = self.scores.items()
        return {part: {name: of[part] for name, of in others} for part in self.steering} if others else {}


def constant_answer(
    stream: Stream, scenario: Scenario, parts: Sequence[str] = PARTS, after: Sequence[int] | None = None
) -> ConstantAnswer:
    """The scores of the constant answer; of the rows those `after` these tasks alone, if these are given.

    It is what a network that ignores its input could at best have learned: after task t it answers an example of task i
    by how often each label occurs in the training data that bear on it (`Target.constant`: the most frequent class, the
    lowest of equals; their frequencies where a score goes by probabilities; the mean of amounts). In task-il those are
    the data of task i: the task is known, so that each can have an answer of its own, even where tasks share outputs.
    In the other scenarios nothing but its input tells an example's task, so one answer stands for all: that of the data
    of tasks 0 to t together.

    Where nothing bears on it yet, all active outputs are alike: each class is as good an answer as any other, so that
    it scores the mean over them, the chance level; and amounts are 0, their mean in the units that they are learned in.
    So it is in the first row, of the untrained network, and in task-il for the tasks that are still to come.
    """
    target, scores = target_of(stream.target), scores_of(stream)
    outputs = target.outputs(stream, scenario)
    measure, numbers = Measure(target, scores, outputs), range(len(stream.tasks))
    rows = (-1, *numbers) if after is None else after
    train = [torch.from_numpy(task.train) for task in stream.tasks]

    @cache
    def best(bearing: tuple[int, ...]) -> Tensor:
        """The constant outputs (1, n_outputs) for the training data of these tasks."""
        examples = torch.cat([train[number] for number in bearing])
        return target.constant(outputs.labels[examples], outputs.n_outputs).unsqueeze(0)

    def answered(score: Score, row: int, task: int) -> Tensor:
        """The constant outputs (k, n_outputs) whose mean score counts."""
        bearing = (task,) if scenario == "task-il" else tuple(range(row + 1))
        if bearing and bearing[-1] <= row and any(len(train[number]) for number in bearing):
            return best(bearing)
        if target.has_classes and not score.by_probability:
            return torch.eye(outputs.n_outputs)[outputs.masks[row, task]]
        return torch.zeros(1, outputs.n_outputs)

    def cell(score: Score, part: str, row: int, task: int) -> float:
        examples = torch.from_numpy(getattr(stream.tasks[task], part))
        if not len(examples):
            return math.nan
        mask, constant = outputs.masks[row, task], answered(score, row, task)
        answers = target.answers(score, constant[:, None, :].expand(-1, len(examples), -1), mask)
        return float(measure.of(score, answers, examples, mask).mean())

    return ConstantAnswer(
        {
            score.name: {part: [[cell(score, part, row, i) for i in numbers] for row in rows] for part in parts}
            for score in scores
        }
    )


def class_counts(stream: Stream) -> list[dict[ClassId, tuple[int, int, int]]]:
    """For each task, by class as the user named it, the numbers of its training, steering and validation examples."""
    classes = target_of(stream.target).classes(stream)

    def counted(examples: Indices) -> list[int]:
        found: list[int] = np.bincount(classes[examples], minlength=classes.max() + 1).tolist()
        return found

    names: Sequence[ClassId] = stream.class_ids or range(classes.max() + 1)
    of_tasks = []
    for task in stream.tasks:
        parts = zip(*map(counted, (task.train, task.steering, task.validation)), strict=True)
        of_tasks.append({name: counts for name, counts in zip(names, parts, strict=True) if any(counts)})
    return of_tasks


def majority_shares(stream: Stream) -> list[float]:
    """For each task the share, in (0, 1], of the most frequent class among its validation examples, or, where it has
    none (`Stream.refitted`), among those to train on."""
    shares = []
    for by_class in class_counts(stream):
        train, *_, validation = zip(*by_class.values(), strict=True)
        counts = validation if any(validation) else train
        shares.append(max(counts) / sum(counts))
    return shares
