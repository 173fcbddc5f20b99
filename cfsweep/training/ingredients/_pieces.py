"""The pieces that ingredients are made of; `_timeline.py` lists the moments at which the loop calls them, and
`_arguments.py` has what they are given.

An ingredient inherits one or several pieces and implements their abstract methods:

    a penalty        Penalty, and StepObserver where it has to see every step
    rehearsal        a source of old examples: Buffered, RankedBuffer, BufferedOnline or Generator;
                     and their use: MixedReplay, ReplayLoss, Projection, or Classifier
    a closed form    ClosedForm
    distillation     Distillation
    a partition      Partition, and Cut, TaskWeights, Extension where it needs them
    a schedule       RateByStep, RateByWeight
    a stop rule      StopRule
    and, beside any  ActiveClasses, BatchLoss, LossShares, TaskStart

All methods are for one model: `theta` (P,) are its weights as one flat vector, `state` the ingredient's own tensors by
name, `values` its numeric hyperparameters and `lr` as scalar tensors. Where they take tensors they are pure functions
that `torch.func.vmap` can lift. `Ingredient` has what each of them says of itself: `name`, `summary`, `paper`,
`hypers`, and, if it likes, `initial_state`, `conventions`, `scenarios`, `excludes`, `needs_classes`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cfsweep.training.ingredients._arguments import (
    Buffer,
    Comparison,
    Drawn,
    Examples,
    Features,
    Generated,
    Held,
)
from cfsweep.training.ingredients._base import Indices, Ingredient, Settings, State, Values


class TaskStart(Ingredient, piece=True):
    """Changes weights or state before a task."""

    @abstractmethod
    def start_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        """The (theta, state) with which `task`, the second one or a later one, begins."""


class Consolidation(Ingredient, piece=True):
    """Keeps something of each task that has ended."""

    def n_examples(self, n_train: int) -> int:
        """How many of the task's `n_train` training examples `consolidate` is to see; none by default."""
        return 0

    def n_noise(self) -> int:
        """How many standard normal numbers come with each example; none by default."""
        return 0

    @abstractmethod
    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        """The state after `task`, which has ended with the weights `theta`."""


class Penalty(Consolidation, piece=True):
    """Holds the weights near old ones, from the second task on."""

    @abstractmethod
    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        """The gradient (P,) of the penalty at `theta`, which is added to that of the losses."""


class StepObserver(Ingredient, piece=True):
    """Sees every step of every task."""

    @abstractmethod
    def observe_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        """The entries of the state that change with a step from the weights `before` to `after`, given the gradient of
        the losses without penalties, all (P,)."""


class Buffered(Ingredient, piece=True):
    """A source of old examples: a buffer on the host, renewed whenever a task has ended.

    `stores_logits`: the logits of each example, as they are when it gets in, are stored with it. `holds_current_task`:
    while a task is trained the buffer is what it will be at the end of it, the task's own examples included.
    `as_they_come`: the examples of a task are told in the order of its last epoch, not in that of the store.
    """

    stores_logits: ClassVar[bool] = False
    holds_current_task: ClassVar[bool] = False
    as_they_come: ClassVar[bool] = False

    @abstractmethod
    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        """The buffer after a task whose training examples are `examples` (n,); logits are filled in by the loop."""


class RankedBuffer(Buffered, piece=True):
    """A buffer that is offered those examples which the network's features commend."""

    @abstractmethod
    def rank(self, buffer: Buffer, examples: Indices, features: Features, values: Mapping[str, float]) -> Indices:
        """What `update_buffer` gets as `examples` after a task whose training examples are `examples` (n,): some of
        them and of the buffer's, the most wanted first, by the features of the weights of now."""


class Substitute(Ingredient, piece=True):
    """Answers in place of the output layer, as long as the ingredient is on and has something to answer by. At most one
    ingredient of a trial can."""

    @abstractmethod
    def outputs_for(self, features: Tensor, held: Any) -> Tensor:
        """What the target is to predict from in place of the logits, (n, n_outputs), for examples with these features
        (n, d), given what is `held` for it."""


class Classifier(Buffered, Substitute, piece=True):
    """Answers in place of the output layer, for whatever run has something in its buffer. Within a task and at its end
    it answers by the buffer that the run would have if the task ended there."""

    @abstractmethod
    def outputs_for(self, features: Tensor, held: Held) -> Tensor:
        """What the target is to predict from in place of the logits, (n, n_outputs), for examples with these features
        (n, d); called for each run by itself."""


class ClosedForm(Substitute, piece=True):
    """Answers by statistics of the features of all tasks that have ended. No example is kept.

    So the features must stay as they are: from the second task on the network takes no step, nor does it in the first
    one unless it `adapts`. Within the first task the output layer answers. What `values` decide in `solve` alone
    `takes_effect` in the answers, and runs that differ in nothing else share all their training and all statistics.
    """

    @abstractmethod
    def adapts(self) -> bool:
        """Whether the network is trained on the first task, by its output layer."""

    @abstractmethod
    def accumulate(self, state: State, features: Tensor, labels: Tensor, rng: np.random.Generator) -> State:
        """The state after a task whose training examples have these features (n, d), of what goes into the output
        layer, and labels (n,); called for each run by itself. `rng` is the run's own, the same in every task."""

    @abstractmethod
    def solve(self, state: State, values: Mapping[str, float]) -> State:
        """What `outputs_for` is to go by, float32, from the state after one task or more."""

    @abstractmethod
    def outputs_for(self, features: Tensor, held: State) -> Tensor:
        """What the target is to predict from in place of the logits, (n, n_outputs), for examples with these features
        (n, d), by what `solve` gave; called for each run by itself."""


class BufferedOnline(Ingredient, piece=True):
    """A source of examples: a buffer that is offered those of each mini-batch right after its step, in every epoch,
    with the logits of that step.

    A step draws from what the buffer holds by then, so from the first task on, and examples of the task in training
    too. What others mix into a batch is not offered. An example that comes twice may be held twice.
    """

    @abstractmethod
    def slots(self, offered: int, n: int, values: Mapping[str, float], rng: np.random.Generator) -> Indices:
        """The slot of the buffer that each of the next `n` examples takes, (n,), when `offered` have been offered
        before; -1 for none. Slots that are empty are taken in their order, from 0."""


class Generator(Consolidation, piece=True):
    """A source of old examples: they are made up, by what `consolidate` has learned of the tasks."""

    def n_codes(self) -> int:
        """How many standard normal numbers each made-up example is made of; `n_noise` by default."""
        return self.n_noise()

    @abstractmethod
    def generate(self, theta: Tensor, state: State, values: Values, task: int, noise: Tensor) -> Generated:
        """Examples of old tasks for one epoch of `task`, which began with the weights `theta`: one for each row of
        standard normal noise (n, n_codes), in any order."""


class MixedReplay(Buffered, piece=True):
    """Examples of the buffer take places in the mini-batches, in the first task too where it `holds_current_task`."""

    @abstractmethod
    def mix_in(
        self, order: Indices, batch_size: int, buffer: Buffer, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        """One epoch's examples (n,), cut into batches of `batch_size` in this order, given the shuffled task."""


class ReplayLoss(Ingredient, piece=True):
    """Beside each mini-batch, from the second task on, examples of the ingredient's source have a loss of their own, as
    long as the ingredient is on and there are any: they are drawn with replacement from what is `Buffered`, or are new
    ones of a `Generator`. From the first task on where the source is `BufferedOnline`."""

    @abstractmethod
    def n_draws(self, batch_size: int) -> int:
        """How many examples each step draws."""

    @abstractmethod
    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        """What the drawn examples add to the loss, a scalar."""


class Projection(ReplayLoss, piece=True):
    """The drawn examples add nothing to the loss: their gradient is what the step's gradient is projected on."""

    @abstractmethod
    def project(self, gradient: Tensor, reference: Tensor, values: Values) -> Tensor:
        """The gradient (P,) that the optimizer is to see, given that of losses and penalties, and the `reference`: that
        of `replay_loss`, zero where nothing was drawn and at weights that are held still."""


class BatchLoss(Ingredient, piece=True):
    """Has a loss of the mini-batch in place of the target's, in every task, as long as the ingredient is on. At most
    one ingredient of a trial can."""

    @abstractmethod
    def batch_loss(self, logits: Tensor, labels: Tensor, mask: Tensor, values: Values, task: int) -> Tensor:
        """The mean over the examples, a scalar: logits (n, n_outputs), labels (n, ...), mask (n, n_outputs) bool of the
        active outputs."""


class ActiveClasses(Ingredient, piece=True):
    """Decides among which outputs an example of a mini-batch competes, in the loss of the batch alone."""

    @abstractmethod
    def active_classes(self, masks: Tensor, values: Values, task: int) -> Tensor:
        """The outputs (T, n_outputs) active for the examples of each task while `task`, the second one or a later one,
        is trained, given those of the scenario."""


class Distillation(Consolidation, piece=True):
    """Keeps answers to the examples of a mini-batch near those of the network at the end of the last task.

    `layers` are those whose features it compares ("" is the input of the output layer). `trains_old_outputs`: it
    compares logits, so that outputs which are inactive for the batch learn too, as long as the ingredient is on.
    """

    layers: tuple[str, ...] = ()
    trains_old_outputs: ClassVar[bool] = False

    @abstractmethod
    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        """What is added to the mean loss of the batch, a scalar, while `task`, the second one or a later one, is
        trained."""

    def initial_state(self, theta: Tensor) -> State:
        return {"old": torch.zeros_like(theta)}

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {"old": theta.clone()}

    def old_weights(self, state: State) -> Tensor:
        """The weights at the end of the last task, of which the answers `before` are.

        Raises:
            ValueError: a state of one's own has no entry `old`.
        """
        if "old" not in state:
            raise ValueError(
                f"{type(self).__qualname__}: its state must hold the old weights as `old`. In `initial_state` and "
                "`consolidate` return `super()`'s entries beside your own."
            )
        return state["old"]


class LossShares(Ingredient, piece=True):
    """Mixes the loss of the mini-batch with its own, which is its `distillation_loss` or `replay_loss`."""

    @abstractmethod
    def loss_shares(self, values: Values, task: int) -> tuple[Tensor, Tensor]:
        """What the mean loss of the batch and what its own loss are multiplied by, two scalars, while `task`, the
        second one or a later one, is trained; 1 for the batch where the ingredient is off. Those of several ingredients
        for the batch multiply."""


class RateByStep(Ingredient, piece=True):
    """A schedule of the learning rate within each task."""

    @abstractmethod
    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        """A factor on the learning rate of step `step` (from 1) of a task's `n_steps`, a scalar."""


class RateByWeight(Ingredient, piece=True):
    """Some weights learn more slowly than others."""

    @abstractmethod
    def weight_rates(self, values: Values) -> Tensor:
        """Factors (P,) on the learning rate of each weight, the same in all steps."""


class Partition(Ingredient, piece=True):
    """Decides which weights a task may move; the others do not move by a bit.

    `holds_statistics`: running statistics (batch norm's) stay as the first task left them, too, and later tasks train
    with them.
    """

    holds_statistics: ClassVar[bool] = False

    @abstractmethod
    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        """Which weights `task` may move, (P,) bool; `after_cut` tells the steps after the task's cut, if it has one."""


class Cut(Ingredient, piece=True):
    """Changes weights and state once within each task. At most one ingredient of a trial can."""

    @abstractmethod
    def cut_frac(self) -> float:
        """When, as a share of the task's steps."""

    @abstractmethod
    def cut(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        """The new (theta, state)."""


class TaskWeights(Ingredient, piece=True):
    """A task that has ended is answered with weights of its own."""

    @abstractmethod
    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        """The weights (P,) with which the finished task `task` is evaluated."""


class Extension(Ingredient, piece=True):
    """Adds modules to the network."""

    @staticmethod
    @abstractmethod
    def extend(module: nn.Module, settings: Settings, head: str) -> nn.Module:
        """The network with them; may change and return `module` itself. `head` is the name of the output layer. What is
        drawn at random comes after the network's own draws."""


class StopRule(Ingredient, piece=True):
    """Looks at steering examples within a task, held out from training and from what scores the run, and may end the
    task for its run.

    `looks_at_old`, which each rule must say: it looks at those of all tasks so far, and so must keep them; else at
    those of the current task alone.
    """

    looks_at_old: ClassVar[bool]

    @abstractmethod
    def n_checks(self, epochs: int) -> int:
        """How often within a task, at equal distances; the last time is its end."""

    @abstractmethod
    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        """The new (theta, state), and whether the run has finished this task, a bool scalar.

        `scores` (T,) are those on the steering examples of `task`, or of tasks 0 to `task`, the higher the better,
        zero for other tasks. `number` counts from 1; 0 is the call before the
        first step.
        """

    def kept(self, state: State) -> State:
        """Nothing: its state is for within a task."""
        return {}
