"""What every peer is told and what every peer hands back. Light: NumPy alone, whatever else a peer's Python lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TaskData = dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]  # by part: examples, labels from 0
Matrix = Sequence[Sequence[float]]
PARTS = ("train", "validation")


@dataclass(frozen=True)
class Job:
    """One sweep: λ is searched log-uniformly in [low, high], the rest is fixed; `first` are the λ tried first.

    λ is that of the penalty ½·λ·Σ F (θ − θ*)², F the mean over examples of squared per-example gradients.
    """

    tasks: str  # the file of `write_tasks`
    records: str  # where the peer writes its records
    trials: int
    workers: int
    seed: int
    first: tuple[float, ...]
    low: float
    high: float
    epochs: int
    batch_size: int
    hidden: tuple[int, ...]
    lr: float
    ewc_examples: int
    classes_per_task: int = 2

    def write(self, path: Path) -> None:
        """For `read`."""
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(path: str | Path) -> Job:
        content = json.loads(Path(path).read_text())
        return Job(**{**content, "first": tuple(content["first"]), "hidden": tuple(content["hidden"])})


@dataclass(frozen=True)
class Record:
    """One trial: its objective, accuracies on validation data (0 where the task was not yet seen), seconds of training
    and, of these, of the Fisher; clock times."""

    ewc_lambda: float
    seed: int
    objective: float
    validation: Matrix
    train_s: float
    fisher_s: float
    began: float
    ended: float


def mixed(matrix: Matrix) -> float:
    """After each task but the first, half the mean accuracy on old tasks and half that on the new one; their mean.

    >>> mixed([[0.9, 0.0], [0.7, 0.8]])
    0.75
    """
    return float(np.mean([(np.mean(matrix[t][:t]) + matrix[t][t]) / 2 for t in range(1, len(matrix))]))


def write_tasks(path: Path, tasks: Iterable[TaskData]) -> None:
    """One file with all tasks' arrays, for `read_tasks`."""
    arrays = {}
    for number, task in enumerate(tasks):
        for part, (x, y) in task.items():
            arrays[f"{number}_{part}_x"], arrays[f"{number}_{part}_y"] = x, y
    np.savez(path, **arrays)


def read_tasks(path: str | Path) -> list[TaskData]:
    """Inverse of `write_tasks`."""
    with np.load(path) as arrays:
        n_tasks = len(arrays.files) // (2 * len(PARTS))
        return [
            {part: (arrays[f"{number}_{part}_x"], arrays[f"{number}_{part}_y"]) for part in PARTS}
            for number in range(n_tasks)
        ]


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    Path(path).write_text(json.dumps([asdict(record) for record in records]))


def read_records(path: str | Path) -> list[Record]:
    return [Record(**content) for content in json.loads(Path(path).read_text())]
