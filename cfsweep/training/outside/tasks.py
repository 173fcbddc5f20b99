"""The tasks of a trainer from outside, as a stream without examples: those are the trainer's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cfsweep.config import PARTS
from cfsweep.training.outside.answer import Answer
from cfsweep.training.spec import Counts
from cfsweep.training.streams import Stream, Task


def tasks_told(trainer: str, answer: Answer) -> Stream:
    """The tasks as an answer tells them: by their names, or else by their numbers.

    >>> stream = tasks_told("a:b", Answer({"validation": [0.5, 0.25]}, {"validation": [20, 30]}, (), b""))
    >>> [task.name for task in stream.tasks], stream.told
    (['0', '1'], {'validation': [20, 30], 'test': [0, 0]})
    """
    unknown = {part: [None if part in answer.scores else 0] * answer.n_tasks for part in PARTS}
    told: Counts = {part: list(answer.n_examples.get(part, unknown[part])) for part in PARTS}
    return tasks_named(trainer, answer.names or [str(task) for task in range(answer.n_tasks)], told)


def tasks_named(trainer: str, names: Sequence[str], told: Counts) -> Stream:
    """Tasks of these names, which so many examples score: 0 where none do, None where nobody has counted."""
    none = np.empty(0, np.int64)
    tasks = tuple(Task(name, (), none, none, none) for name in names)
    return Stream(trainer, torch.empty(0, 0), torch.empty(0, dtype=torch.int64), tasks, told=told)
