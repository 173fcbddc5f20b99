"""What an ingredient is. It is written for one model; the loop lifts it over the runs of a pack.

`theta` is the model's flat parameter vector (P,), `state` a dict of tensors, `values` the trial's numeric
hyperparameters as scalar tensors. Every hook that takes tensors is a pure function that `torch.func.vmap` can lift.
Memories are index arrays into the stream's store and live on the host.

The loop does all that needs the network (forward passes, gradients, draws from memories); the hooks say what to make of
it. `extend` and `initial_state` come once; then, for each task, about in this order (* from task 1 on alone):

    start_task*                                the weights to begin with
    rehearse                                   which examples of the memory take places in the batches
    open_outputs*, teacher*, loss*             the loss of a step: which outputs compete, whose answers to keep to
    recall_size*, recalled_loss*, reaches_old* examples drawn from the memory beside the batch
    imagine*                                   examples made up, to be drawn in place of a memory's
    gradient*, project*                        what the optimizer is to see
    weight_rates, rate, trainable              how far which weight may move
    after_step                                 what to note of a step
    n_checks, check                            looks at the validation data, and may end the task for its run
    mid_frac, mid_task                         once within each task
    sample_size, noise_size, end_task          what to keep of the ended task
    remember, stored_bytes                     the renewal of the memory, and what all that is kept takes up
    weights_for                                evaluation
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Hyper, Value
from cfsweep.training.layout import Layout

State = dict[str, Tensor]
Values = Mapping[str, Tensor]
Indices = NDArray[np.int64]
Family = Literal["penalty", "rehearsal", "distillation", "partition", "schedule"]


class Sample(NamedTuple):
    """Training examples of the task that has just ended: x (n, *input_shape) float32, labels (n,), mask (n,
    n_outputs) bool; for hooks that draw at random, one uniform number in [0, 1) for each, (n,), and standard normal
    noise (n, noise_size)."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    uniform: Tensor
    noise: Tensor


class Answers(NamedTuple):
    """What a network says to n examples: logits (n, n_outputs), and by layer the features (n, ...) asked for."""

    logits: Tensor
    features: dict[str, Tensor]


class Batch(NamedTuple):
    """A mini-batch of one model: labels (n,), mask (n, n_outputs) of the open outputs, and two sets of answers.

    `now` are those of the weights in training. `before` are those of the ingredient's teacher; for examples recalled
    from a memory the logits kept there; equal to `now` without either.
    """

    labels: Tensor
    mask: Tensor
    now: Answers
    before: Answers


@dataclass(frozen=True)
class Memory:
    """Remembered examples: their indices in the store, how many examples were offered so far, and for an ingredient
    that keeps logits those of the moment each example was remembered, (n, n_outputs), with minus infinity at outputs
    that were closed to it. A memory that balances classes counts the examples `offered` of each one, (n_classes,)."""

    indices: Indices
    seen: int
    logits: NDArray[np.float32] | None = None
    offered: Indices | None = None


EMPTY_MEMORY = Memory(np.empty(0, np.int64), 0)


@dataclass(frozen=True)
class Context:
    """What an ingredient may know of the network and the stream.

    `forward(theta, x)` gives the logits (n, n_outputs); `squared_gradients(theta, x, labels, mask)` the mean over
    examples of the squared gradient of each example's log-likelihood, (P,), and `output_sensitivity(theta, x, mask)`
    that of the absolute gradient of the squared norm of its open logits. `masks[t, i]` are the outputs (n_outputs,)
    open to examples of task i while task t is trained. `classes` (n_examples,) is the class of each example in the
    store. `own_outputs[t]` (n_outputs,) are the outputs that are right for some example of task t. `output_tasks[c]` is
    the task that output c belongs to (task-il only; elsewhere empty).
    """

    layout: Layout
    n_tasks: int
    scenario: Scenario
    input_shape: tuple[int, ...]
    forward: Callable[[Tensor, Tensor], Tensor]
    squared_gradients: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    output_sensitivity: Callable[[Tensor, Tensor, Tensor], Tensor]
    masks: Tensor
    classes: Indices
    own_outputs: Tensor
    output_tasks: tuple[int, ...]


class Ingredient(ABC):
    """One mitigation. Override the hooks that it needs; the loop calls no others.

    `excludes` maps each ingredient that it cannot be combined with to the reason. `layers` names the layers whose
    features `loss` wants ("" is the input of the output layer). `keeps_logits`: its memory keeps them.
    `recalls_current`: it recalls from the memory as it will be at the end of the task, the task's own examples too.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    summary: ClassVar[str]
    paper: ClassVar[str]
    hypers: ClassVar[tuple[Hyper, ...]]
    scenarios: ClassVar[tuple[Scenario, ...]] = SCENARIOS
    excludes: ClassVar[Mapping[str, str]] = {}
    keeps_logits: ClassVar[bool] = False
    recalls_current: ClassVar[bool] = False
    layers: tuple[str, ...] = ()
    fisher_convention: str | None = None
    penalty_convention: str | None = None

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        """`settings` holds the structural hyperparameters; the numeric ones come as `values`, one per run."""
        self.context = context

    @staticmethod
    def extend(module: nn.Module, settings: Mapping[str, Value], head: str) -> nn.Module:
        """The network with what the ingredient adds to it; may change and return `module` itself. `head` is the name
        of the output layer. What is drawn at random comes after the network's own draws."""
        return module

    def initial_state(self, like: Tensor) -> State:
        """The state before task 0, on the device of `like` (P,), the run's initial weights."""
        return {}

    # ------------------------------------------------------------------ before a task, from task 1 on

    def start_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        """The (theta, state) with which `task` begins."""
        raise NotImplementedError

    def imagine(
        self, theta: Tensor, state: State, values: Values, task: int, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Made-up examples to recall from during `task`, one for each row of standard normal noise (n, noise_size):
        x (n, *input_shape), labels (n,), mask (n, n_outputs). As many as the task has training examples."""
        raise NotImplementedError

    # ------------------------------------------------------------------ a step

    def open_outputs(self, masks: Tensor, values: Values, task: int) -> Tensor:
        """Which outputs (T, n_outputs) are open to the examples of each task in the batches of `task`, given those
        of the scenario. It holds for the loss of the batch alone, neither for recalled examples nor in evaluation."""
        raise NotImplementedError

    def teacher(self, state: State) -> Tensor:
        """The weights (P,) whose answers `loss` wants to see as `before`."""
        raise NotImplementedError

    def loss(self, batch: Batch, state: State, values: Values, task: int) -> Tensor:
        """What is added to the mean loss of the batch, a scalar. Called from task 1 on."""
        raise NotImplementedError

    def recall_size(self, batch_size: int) -> int:
        """How many examples each step draws, with replacement, beside the batch. From task 1 on."""
        raise NotImplementedError

    def recalled_loss(self, batch: Batch, state: State, values: Values) -> Tensor:
        """What the recalled examples add to the loss, a scalar; not called while there is nothing to recall.

        If the ingredient has `project`, nothing is added, and this loss's gradient is handed to `project`.
        """
        raise NotImplementedError

    def reaches_old(self, values: Values) -> Tensor:
        """Whether `loss` or the recalled examples train outputs of old tasks too, a bool scalar; elsewhere outputs
        that are closed to every example of the batches are held still. Needed with `recall_size`; with `imagine`,
        nothing is recalled where it is false."""
        raise NotImplementedError

    def gradient(self, gradient: Tensor, theta: Tensor, state: State, values: Values) -> Tensor:
        """The gradient (P,) that the optimizer is to see, given that of the losses. Called from task 1 on."""
        raise NotImplementedError

    def project(self, gradient: Tensor, reference: Tensor, values: Values) -> Tensor:
        """The gradient (P,) that the optimizer is to see, given that of the recalled examples (zero while there are
        none; zero also where weights are held still). Called after every ingredient's `gradient`."""
        raise NotImplementedError

    def after_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        """The entries of the state that change with a step from the weights `before` to `after`, given the gradient of
        the losses, all (P,)."""
        raise NotImplementedError

    # ------------------------------------------------------------------ how far which weight moves

    def weight_rates(self, like: Tensor, values: Values) -> Tensor:
        """Factors (P,) on the learning rate of each weight, the same for all steps."""
        raise NotImplementedError

    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        """A factor on the learning rate of step `step` (from 1) of a task's `n_steps`, a scalar."""
        raise NotImplementedError

    def trainable(self, state: State, values: Values, task: int, after_mid: bool) -> Tensor:
        """Which weights may move, (P,) bool, from now to the next event of `task`."""
        raise NotImplementedError

    # ------------------------------------------------------------------ events within a task

    def n_checks(self, epochs: int) -> int:
        """How often within a task, at equal distances, `check` is called; the last time is its end."""
        raise NotImplementedError

    def check(
        self, theta: Tensor, state: State, values: Values, accuracies: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        """The new (theta, state), and whether the run has finished this task, a bool scalar.

        `accuracies` (T,) are those on the validation data of tasks 0 to `task`, zero for later ones. `number` counts
        from 1; 0 is the call before the first step.
        """
        raise NotImplementedError

    def mid_frac(self) -> float:
        """When `mid_task` happens, as a share of the task's steps."""
        raise NotImplementedError

    def mid_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        """What happens once within each task: the new (theta, state)."""
        raise NotImplementedError

    # ------------------------------------------------------------------ after a task

    def sample_size(self, n_train: int) -> int:
        """How many of the ended task's training examples `end_task` wants to see."""
        return 0

    def noise_size(self) -> int:
        """How many standard normal numbers `end_task` or `imagine` wants with each example."""
        return 0

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        """The state after `task` has ended."""
        raise NotImplementedError

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        """The weights (P,) with which the finished task `task` is evaluated."""
        raise NotImplementedError

    # ------------------------------------------------------------------ memories, on the host

    def rehearse(
        self, order: Indices, batch_size: int, memory: Memory, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        """One epoch's examples (n,), cut into batches of `batch_size` in this order, given the shuffled task."""
        raise NotImplementedError

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        """The memory after a task whose training examples are `examples` (n,). Logits are filled in by the loop."""
        raise NotImplementedError

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        """What must be kept between tasks beside the network itself."""
        return 0

    def has(self, hook: str) -> bool:
        """Whether this ingredient overrides `hook`."""
        return getattr(type(self), hook) is not getattr(Ingredient, hook)
