"""What a stream is: one store of examples, and tasks that are index arrays into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One task: its classes in label order, and where its examples lie in the store."""

    name: str
    classes: tuple[int, ...]
    train: Indices
    validation: Indices
    test: Indices


@dataclass(frozen=True)
class Stream:
    """An ordered list of tasks over one store.

    `x` is (n_examples, *input_shape), uint8 or float32; the network sees `(x - shift) * scale` in float32.
    `y` is (n_examples,) int64: the class's number in the whole stream. `files` maps each data file to its SHA-256.
    """

    name: str
    x: Tensor
    y: Tensor
    tasks: tuple[Task, ...]
    shift: float = 0.0
    scale: float = 1.0
    files: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def n_classes(self) -> int:
        return max(max(task.classes) for task in self.tasks) + 1
