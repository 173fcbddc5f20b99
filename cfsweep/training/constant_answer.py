"""What answering every example alike would score (the majority-class baseline, ZeroR), and how the classes are spread
over the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import PARTS, Scenario
from cfsweep.training.streams import Indices, Stream
from cfsweep.training.targets import Floats, Target, target_of


def constant_answer(stream: Stream, scenario: Scenario, parts: Sequence[str] = PARTS) -> dict[str, list[list[float]]]:
    """The scores of the constant answer, by part (`validation`, `test`): (T + 1) rows of T, as in a run's record.

    It is what a network that ignores its input could at best have learned: after task t it answers an example of task i
    with the most frequent label (the lowest of equals) of the training data that bear on it, among the outputs that are
    active for it. In task-il those are the data of task i: the task is known, so that each can have an answer of its
    own, even where tasks share outputs. In the other scenarios nothing but its input tells an example's task, so one
    answer stands for all: that of the data of tasks 0 to t together.

    Where nothing bears on it yet, all active outputs are alike, and it scores their mean: the chance level. So it is in
    the first row, of the untrained network, and in task-il for the tasks that are still to come.

    The target must have classes: then each answer is what it predicts from one output that stands out.
    """
    target = target_of(stream.target)
    outputs = target.outputs(stream, scenario)
    masks = outputs.masks.numpy()
    answers = target.predict(torch.eye(outputs.n_outputs), torch.ones(outputs.n_outputs, dtype=torch.bool))
    train, *scored = (
        np.array([_right(target, answers, outputs.labels[getattr(task, part)]) for task in stream.tasks])
        for part in ("train", *parts)
    )
    counts = np.round(train * [[len(task.train)] for task in stream.tasks], 6)  # as shares are not exact
    so_far = counts.cumsum(0)

    def cell(right: Floats, after: int, task: int) -> float:
        active = masks[after, task]
        counted = counts[task] if scenario == "task-il" else so_far[after]
        unseen = after < 0 or (scenario == "task-il" and task > after)
        learned = np.where(active & (not unseen), counted, 0)
        return float(right[task, learned.argmax()] if learned.any() else right[task, active].mean())

    numbers = range(len(stream.tasks))
    return {
        part: [[cell(right, after, task) for task in numbers] for after in (-1, *numbers)]
        for part, right in zip(parts, scored, strict=True)
    }


def _right(target: Target, answers: Tensor, labels: Tensor) -> list[float]:
    """The score of each of the `answers` (n_outputs, ...) as the only one given to examples with these `labels`."""
    return [float(target.score.of(answer.expand(1, *labels.shape), labels)) for answer in answers]


def class_counts(stream: Stream) -> list[dict[int, tuple[int, int, int]]]:
    """For each task, by class as the user named it, the numbers of its training, steering and validation examples."""
    classes = target_of(stream.target).classes(stream)

    def counted(examples: Indices) -> list[int]:
        found: list[int] = np.bincount(classes[examples], minlength=classes.max() + 1).tolist()
        return found

    names = stream.class_ids or range(classes.max() + 1)
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
