"""What an ingredient is. It is written for one model; the loop lifts it over the runs of a pack.

`theta` is the model's flat parameter vector (P,), `state` a dict of tensors, `values` the trial's numeric
hyperparameters as scalar tensors. Every hook that takes tensors is a pure function that `torch.func.vmap` can lift.
Memories are index arrays into the stream's store and live on the host.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Hyper, Value
from cfsweep.training.layout import Layout

State = dict[str, Tensor]
Values = Mapping[str, Tensor]
Indices = NDArray[np.int64]


class Sample(NamedTuple):
    """Training examples of the task that has just ended: x (n, *input_shape) float32, labels (n,), mask (n,
    n_outputs) bool, and one uniform number in [0, 1) for each (n,), for hooks that draw at random."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    uniform: Tensor


@dataclass(frozen=True)
class Memory:
    """Remembered examples: their indices in the store, and how many examples were offered so far."""

    indices: Indices
    seen: int


EMPTY_MEMORY = Memory(np.empty(0, np.int64), 0)


@dataclass(frozen=True)
class Context:
    """What an ingredient may know of the network and the stream.

    `forward(theta, x)` gives the logits (n, n_outputs); `squared_gradients(theta, x, labels, mask)` the mean over
    examples of the squared gradient of each example's log-likelihood, (P,). `output_tasks[c]` is the task that
    output c belongs to (task-il only; elsewhere empty).
    """

    layout: Layout
    n_tasks: int
    scenario: Scenario
    forward: Callable[[Tensor, Tensor], Tensor]
    squared_gradients: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    output_tasks: tuple[int, ...]


class Ingredient(ABC):
    """One mitigation. Override the hooks that it needs; the loop calls no others."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str]
    hypers: ClassVar[tuple[Hyper, ...]]
    scenarios: ClassVar[tuple[Scenario, ...]] = SCENARIOS
    fisher_convention: str | None = None
    penalty_convention: str | None = None

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        """`settings` holds the structural hyperparameters; the numeric ones come as `values`, one per run."""
        self.context = context

    def initial_state(self, like: Tensor) -> State:
        """The state before task 0, on the device of `like` (P,)."""
        return {}

    def gradient(self, gradient: Tensor, theta: Tensor, state: State, values: Values) -> Tensor:
        """The gradient (P,) that the optimizer is to see, given that of the data. Called from task 1 on."""
        raise NotImplementedError

    def trainable(self, state: State, values: Values, task: int, after_mid: bool) -> Tensor:
        """Which weights may move, (P,) bool, from now to the next event of `task`."""
        raise NotImplementedError

    def mid_frac(self) -> float:
        """When `mid_task` happens, as a share of the task's steps."""
        raise NotImplementedError

    def mid_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        """What happens once within each task: the new (theta, state)."""
        raise NotImplementedError

    def sample_size(self, n_train: int) -> int:
        """How many of the ended task's training examples `end_task` wants to see."""
        return 0

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        """The state after `task` has ended."""
        raise NotImplementedError

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        """The weights (P,) with which the finished task `task` is evaluated."""
        raise NotImplementedError

    def rehearse(
        self, order: Indices, batch_size: int, memory: Memory, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        """One epoch's examples (n,), cut into batches of `batch_size` in this order, given the shuffled task."""
        raise NotImplementedError

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        """The memory after a task whose training examples are `examples` (n,)."""
        raise NotImplementedError

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        """What must be kept between tasks beside the network itself."""
        return 0

    def has(self, hook: str) -> bool:
        """Whether this ingredient overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Ingredient, hook)
