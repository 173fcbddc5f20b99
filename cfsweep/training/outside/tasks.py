"""The tasks of a trainer from outside, as a stream without examples: those are the trainer's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from cfsweep.config import PARTS
from cfsweep.training.outside.answer import Answer
from cfsweep.training.spec import Counts
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets import Score, scores_of, target_with


def tasks_told(trainer: str, answer: Answer, scores: Sequence[str] = ()) -> Stream:
    """The tasks as an answer tells them: by their names, or else by their numbers; `scores` as for `tasks_named`.

    >>> stream = tasks_told("a:b", Answer({"validation": [0.5, 0.25]}, {"validation": [20, 30]}, (), b""))
    >>> [task.name for task in stream.tasks], stream.told
    (['0', '1'], {'validation': [20, 30], 'test': [0, 0]})
    """
    unknown = {part: [None if part in answer.scores else 0] * answer.n_tasks for part in PARTS}
    told: Counts = {part: list(answer.n_examples.get(part, unknown[part])) for part in PARTS}
    return tasks_named(trainer, answer.names or [str(task) for task in range(answer.n_tasks)], told, scores)


def score_returned(trainer: str, scores: Sequence[str] = ()) -> Score:
    """The score that the trainer returns: the one of `scores`, or accuracy.

    Raises:
        InputError: there is no such score.

    >>> score_returned("a:b").name, score_returned("a:b", ["neg_rmse"]).bounds
    ('accuracy', (-inf, 0.0))
    """
    return scores_of(tasks_named(trainer, (), {}, scores))[0]


def tasks_named(trainer: str, names: Sequence[str], told: Counts, scores: Sequence[str] = ()) -> Stream:
    """Tasks of these names, which so many examples score: 0 where none do, None where nobody has counted. `scores` has
    the name of what the trainer returns, which may be a score of any target; none is accuracy.

    Raises:
        InputError: there is no such score.
    """
    none = np.empty(0, np.int64)
    tasks = tuple(Task(name, (), none, none, none) for name in names)
    found = Stream(trainer, torch.empty(0, 0), torch.empty(0, dtype=torch.int64), tasks, told=told)
    if not scores:
        return found
    return replace(found, scores=tuple(scores), target=target_with(scores[0], f"trainer `{trainer}`"))
