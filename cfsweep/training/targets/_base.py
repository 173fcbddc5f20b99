"""What a target is: what is learned from outputs and labels. One file per kind; of the ingredients `icarl` alone looks
into labels, too, and asks for classes (`needs_classes`).

`outputs` are those of the network for n examples, (..., n, n_outputs); `labels` (..., n, *label_shape) belong to them;
`mask` (..., n, n_outputs) bool tells the active outputs, those that an example may be answered with. Every function of
tensors is pure, and `torch.func.vmap` can lift it over leading dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, device

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Indices, Stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A number that says how well a set of examples is answered: accuracy, for one. The higher, the better: what is
    the better the lower, an error, is a score as its negative, and is called so (`neg_rmse`).

    `of(answers, labels)` gives it for each row, (rows,) float64 within `bounds`, and NaN where it has no value, from
    the answers to the n examples and their labels (n, ...), in the user's units. `by_probability` says what an answer
    is: else what `Target.predict` gives, (rows, n, ...); or what `Target.probabilities` gives, of the active outputs
    alone, (rows, n, k), and then a class is the place of its output among these. `undefined_if` says in words when it
    has no value. `positive` is the output of the class that it is about where two are active, by default the second
    of them. `ranks_positives`: it compares the positive examples with all others, and so goes by the fewer of them.
    `variance(values, n_examples)` is how far chance in the choice of the examples moves such values, of
    the same shape; None where nobody can say.
    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    bounds: tuple[float, float]
    by_probability: bool = False
    undefined_if: str = ""
    positive: int | None = None
    ranks_positives: bool = False
    variance: Callable[[Floats, Floats], Floats] | None = None


@dataclass(frozen=True)
class Outputs:
    """The scenario, for the examples of one stream: what an example is to be answered with, and among which outputs.

    `labels` (n_examples, ...) are in terms of the outputs. `task_of` (n_examples,) int64 is each example's task, -1
    without one. `masks` (T + 1, T, n_outputs) bool: `masks[t, i]` are the outputs active for an example of task i while
    task t is trained and after it, until task t + 1 starts; `masks[-1]` is for the untrained network. `meaning` says
    in a line what an output is. Labels that are amounts are learned on a scale of their own: `unit` are the shift and
    the scale, each (n_outputs,), that bring labels and outputs to the user's units, `value * scale + shift`.
    """

    n_outputs: int
    labels: Tensor
    task_of: Tensor
    masks: Tensor
    meaning: str = ""
    unit: tuple[Tensor, Tensor] | None = None

    def in_units(self, values: Tensor) -> Tensor:
        """Labels or predictions (..., n, n_outputs) as the user has them; float64 where they are amounts."""
        if self.unit is None:
            return values
        shift, scale = (part.to(values.device, torch.float64) for part in self.unit)
        return values.to(torch.float64) * scale + shift

    @property
    def own(self) -> Tensor:
        """(T, n_outputs) bool: what is right for some example of the task; labels (n_examples,) are classes."""
        found, used = torch.zeros_like(self.masks[0]), self.task_of >= 0
        found[self.task_of[used], self.labels[used]] = True
        return found

    def to(self, place: device) -> Outputs:
        return replace(self, labels=self.labels.to(place), task_of=self.task_of.to(place), masks=self.masks.to(place))


def task_of_each(stream: Stream) -> Tensor:
    """(n_examples,) int64: the task of each example, -1 of those that are in none."""
    found = torch.full((len(stream.y),), -1, dtype=torch.int64)
    for number, task in enumerate(stream.tasks):
        for part in task.parts.values():
            found[torch.from_numpy(part)] = number
    return found


class Target(ABC):
    """One kind of thing to learn; `summary` is one line for the user.

    `has_classes`: a label is one of finitely many classes, and each output belongs to one of them; ingredients may need
    that. `scores` can be measured; where a study names none, the first one is. The first that is measured steers: it is
    what objectives and stop rules are about.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    has_classes: ClassVar[bool]
    scores: ClassVar[tuple[Score, ...]]

    def for_stream(self, stream: Stream, outputs: Outputs) -> Target:
        """The target as it learns this stream, whose outputs these are: itself, unless it goes by more of it.

        Raises:
            InputError: the stream asks for what the target does not know.
        """
        if stream.class_weights is not None:
            raise InputError(f"target `{self.name}`: it knows no `class_weights`. Leave them out.")
        return self

    @abstractmethod
    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        """The outputs that a network needs for `stream`, and what they mean under `scenario`."""

    @abstractmethod
    def classes(self, stream: Stream) -> Indices:
        """(n_examples,): the class of each example, by which buffers are balanced and described; 0 without classes."""

    @abstractmethod
    def losses(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of each example, (..., n); autograd can follow it."""

    @abstractmethod
    def loss_and_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of `losses` over the n examples, (...,), and its gradient by the outputs, (..., n, n_outputs)."""

    @abstractmethod
    def log_likelihood(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The log-likelihood of each example's label, (..., n), up to a constant; autograd can follow it."""

    @abstractmethod
    def log_likelihood_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The gradient of the sum of `log_likelihood` by the outputs, (..., n, n_outputs)."""

    @abstractmethod
    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """The most likely label of each example, (..., n, *label_shape)."""

    def probabilities(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """How likely each output is to be right, (..., n, n_outputs), 0 at those that are not active. Scores may ask
        for it."""
        raise NotImplementedError(f"{self.name}: it knows no probabilities")

    def answers(self, score: Score, outputs: Tensor, mask: Tensor) -> Tensor:
        """What `score` goes by."""
        return self.probabilities(outputs, mask) if score.by_probability else self.predict(outputs, mask)

    def measured(self, score: Score, answers: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The `score` (rows,) of `answers` (rows, n, ...), given the labels (n, ...) and the active outputs
        (n_outputs,) of these examples."""
        return score.of(answers, labels)

    @abstractmethod
    def constant(self, labels: Tensor, n_outputs: int) -> Tensor:
        """The outputs (n_outputs,) that answer all n examples with these labels (n, ...) alike, and best. There is one
        example at least."""

    @abstractmethod
    def sample(self, outputs: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
        """A label for each example, drawn as the outputs say, from one uniform number in [0, 1) for each number of the
        label, (..., n, *label_shape)."""
