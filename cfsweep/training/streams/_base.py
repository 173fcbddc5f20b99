"""What a stream is: one store of examples, and tasks that are index arrays into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import Frozen

if TYPE_CHECKING:
    from cfsweep.training.streams._preprocessing import Preprocessing

Indices = NDArray[np.int64]
CLASSIFICATION = "classification"
OF_AMOUNTS = ("regression", "multi-label")  # the targets whose labels are amounts, not one class each
_HASHED = 1024  # examples that are copied at a time
ClassId = int | str  # as the user calls a class


@dataclass(frozen=True)
class Task:
    """One task: its classes in label order (none where amounts are learned), and where its examples lie in the store.

    No example is in two of the parts. `steering` is what stop rules look at, empty in a stream that is for none;
    `validation` and `test` score, and are seen by nothing that trains.
    """

    name: str
    classes: tuple[int, ...]
    train: Indices
    validation: Indices
    test: Indices
    steering: Indices = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def parts(self) -> dict[str, Indices]:
        """All its examples, by what they are for."""
        return {"train": self.train, "steering": self.steering, "validation": self.validation, "test": self.test}

    def first(self, n_train: int, n_held_out: int) -> Task:
        """The task with the first examples of each part alone: so many to train on, so many of each other one."""
        validation, test, steering = (part[:n_held_out] for part in (self.validation, self.test, self.steering))
        return Task(self.name, self.classes, self.train[:n_train], validation, test, steering)


@dataclass(frozen=True)
class Split:
    """One way to cut the tasks into parts, and how the network sees the examples then: `shift`, `scale`, `unit` as in
    `Stream`. The test examples are the same in all."""

    tasks: tuple[Task, ...]
    shift: float | Tensor
    scale: float | Tensor
    unit: tuple[Tensor, Tensor] | None = None


def _refitted(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """These tasks with their validation examples among those to train on."""
    return tuple(
        replace(task, train=np.union1d(task.train, task.validation), validation=task.validation[:0]) for task in tasks
    )


class EncoderInfo(Frozen):
    """Which encoder has made features: its function and arguments, the SHA-256 of its code, weights and arguments, and
    what it encodes: examples of this shape and type, or texts, where both are None."""

    name: str
    args: dict[str, Any]
    sha256: str
    input_shape: tuple[int, ...] | None
    input_dtype: str | None


@dataclass(frozen=True)
class Stream:
    """An ordered list of tasks over one store.

    `x` is (n_examples, *input_shape), uint8 or float32; the network sees `(x - shift) * scale` in float32, where the
    two are numbers, or tensors that fit `input_shape`; `standardised` says by what. `features` are the names of the
    columns of flat data, where they have some. In a user's data, columns that float32 cannot hold are standardised in
    `x` already.
    `y` is (n_examples,) int64: the class's number in the whole stream; `class_ids` are the labels that the user gave
    the classes, whole numbers or words, where those are others. Amounts are (n_examples, k) float64, and in a
    regression `unit` are the shift and the scale, each (k,), of the units in which they are learned, `(y - shift) /
    scale`. `files` maps each data file to its SHA-256. `target` names what is to be learned of `y`, and `scores` what
    is measured (none: the target's first one), see `training.targets`; `positive` the class that some are about, by the
    user's label, `class_weights` how much classes count in the loss, `learned_weights` those of the first classes where
    these are known already. `test_share` is what became test data of each task's examples where the user's data name
    none. The first `n_learned` tasks are learned already: the weights that a pack begins with know them, and where a
    bundle goes on, the store has those of their examples alone that a remedy has kept. The stream itself is its split
    0; `other_splits` are the further ones, 1 and up. `validation` is how the examples that are held out were chosen, as
    in `StreamConfig`; `preprocessing` what made examples of a table's rows, `notes` what its user should know.
    `encoder` is what made x of the examples that the user gave, where something did. Where a trainer from outside has
    the examples, the store and the tasks have none, and `told` are the numbers of those that score each task, by part
    (None: it does not say). `augment` names what makes other pictures of the examples in training, see
    `training.engine.augment`. `mapped` is the file that `x` is mapped from, where it is.
    """

    name: str
    x: Tensor
    y: Tensor
    tasks: tuple[Task, ...]
    shift: float | Tensor = 0.0
    scale: float | Tensor = 1.0
    files: dict[str, str] = field(default_factory=dict)
    unit: tuple[Tensor, Tensor] | None = None
    target: str = CLASSIFICATION
    scores: tuple[str, ...] = ()
    positive: str | int | None = None
    class_weights: str | Mapping[str, float] | None = None
    learned_weights: tuple[float, ...] = ()
    class_ids: tuple[ClassId, ...] = ()
    standardised: str = "none"
    features: tuple[str, ...] = ()
    test_share: float = 0.0
    n_learned: int = 0
    other_splits: tuple[Split, ...] = ()
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()
    validation: Literal["random", "latest"] = "random"
    encoder: EncoderInfo | None = None
    told: dict[str, list[int | None]] = field(default_factory=dict)
    augment: tuple[str, ...] = ()
    mapped: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def n_classes(self) -> int:
        """How many there are in the whole stream; 0 where amounts are learned."""
        return max((label for task in self.tasks for label in task.classes), default=-1) + 1

    def of_split(self, number: int) -> Stream:
        """The stream as the split of this number has it, on the same store; always the same object."""
        return self._others[number - 1] if number else self

    def refitted(self) -> Stream:
        """The stream with the validation examples among those to train on, in every split: they score no more. What
        the network sees of an example stays the same."""
        others = tuple(replace(split, tasks=_refitted(split.tasks)) for split in self.other_splits)
        return replace(self, tasks=_refitted(self.tasks), other_splits=others)

    @cached_property
    def _others(self) -> tuple[Stream, ...]:
        return tuple(replace(self, **vars(split), other_splits=()) for split in self.other_splits)

    def user_labels(self, examples: Indices) -> list[Any]:
        """The label of each of the examples (n,), as the user calls it; amounts as lists of k."""
        numbers = self.y.numpy()[examples].tolist()
        return [self.class_ids[number] if self.class_ids else number for number in numbers]

    def test_sha256(self, number: int) -> str:
        """The SHA-256 of the test examples of a task and of their labels, as the user calls these: it does not change
        where further tasks come and the classes are numbered anew."""
        test, x = self.tasks[number].test, self.x.numpy()
        shape = (len(test), *self.input_shape)
        content = hashlib.sha256(repr((str(x.dtype), shape, self.user_labels(test))).encode())
        for at in range(0, len(test), _HASHED):
            content.update(np.ascontiguousarray(x[test[at : at + _HASHED]]).data)
        return content.hexdigest()

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all that a training on split 0 can see: examples, labels, and what belongs to which task."""
        by = [value for value in (self.shift, self.scale, *(self.unit or ())) if isinstance(value, Tensor)]
        numbers = tuple(value for value in (self.shift, self.scale) if not isinstance(value, Tensor))
        content = hashlib.sha256(repr((self.x.dtype, tuple(self.x.shape), *numbers)).encode())
        for tensor in (*by, self.x, self.y):
            content.update(np.ascontiguousarray(tensor.numpy()).data)
        for task in self.tasks:
            content.update(repr((task.classes, [len(part) for part in task.parts.values()])).encode())
            for part in task.parts.values():
                content.update(np.ascontiguousarray(part).data)
        return content.hexdigest()
