"""What a stream is: one store of examples, and tasks that are index arrays into it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

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

    `x` is (n_examples, *input_shape), uint8 or float32; the network sees `(x - shift) * scale` in float32, where the
    two are numbers, or tensors that fit `input_shape`; `standardised` says by what. `features` are the names of the
    columns of flat data, where they have some. In a user's data, columns that float32 cannot hold are standardised in
    `x` already.
    `y` is (n_examples,) int64: the class's number in the whole stream; `class_ids` are the labels that the user gave
    the classes, where those are others. `files` maps each data file to its SHA-256. `target` names what is to be
    learned of `y`, see `training.targets`. `test_share` is what became test data of each task's examples where the
    user's data name none.
    """

    name: str
    x: Tensor
    y: Tensor
    tasks: tuple[Task, ...]
    shift: float | Tensor = 0.0
    scale: float | Tensor = 1.0
    files: dict[str, str] = field(default_factory=dict)
    target: str = "classification"
    class_ids: tuple[int, ...] = ()
    standardised: str = "none"
    features: tuple[str, ...] = ()
    test_share: float = 0.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def n_classes(self) -> int:
        return max(max(task.classes) for task in self.tasks) + 1

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that a training can see of it: examples, labels, and what belongs to which task."""
        by = [value for value in (self.shift, self.scale) if isinstance(value, Tensor)]
        numbers = tuple(value for value in (self.shift, self.scale) if not isinstance(value, Tensor))
        content = hashlib.sha256(repr((self.x.dtype, tuple(self.x.shape), *numbers)).encode())
        for tensor in (*by, self.x, self.y):
            content.update(np.ascontiguousarray(tensor.numpy()).data)
        for task in self.tasks:
            content.update(repr((task.classes, [len(p) for p in (task.train, task.validation, task.test)])).encode())
            for part in (task.train, task.validation, task.test):
                content.update(np.ascontiguousarray(part).data)
        return content.hexdigest()
