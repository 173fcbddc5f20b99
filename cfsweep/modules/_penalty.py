"""What penalties that hold a model's weights near old ones share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cfsweep.bundle.continued import Opened
from cfsweep.modules._examples import Data, active_outputs, gathered, require_active
from cfsweep.modules._kept import known_network, state_in
from cfsweep.modules._model import OneModel, evaluating, without_stream
from cfsweep.modules._saved import Saved, counted, require_fit
from cfsweep.modules._values import Given, checked_seed, numbers_of, static_of
from cfsweep.training.batches import examples_to_consolidate
from cfsweep.training.engine.named_state import from_named, to_named
from cfsweep.training.ingredients import Examples, Penalty, Values
from cfsweep.training.spec import RunSpec


class QuadraticPenalty(Saved):
    """An ingredient that is a quadratic penalty, for one model. All formulas are the ingredient's.

    `kind` is its class, and `centre` the entry of its state where the quadratic is zero. `seed` is what a run of a
    sweep has: it draws the examples that are looked at, and sampled labels.
    """

    kind: ClassVar[type[Penalty]]
    centre: ClassVar[str] = "anchor"

    def __init__(self, model: nn.Module, given: Given, seed: int = 0) -> None:
        super().__init__(given)
        self.seed = checked_seed(seed, self.where)
        self.one = OneModel(model, self.where)  # not a module: its parameters are the user's, not ours
        masks = torch.ones(2, 1, self.one.n_outputs, dtype=torch.bool)
        settings = static_of(self.kind, self.values)
        self.ingredient = self.kind(self.one.context(without_stream(masks)), settings)
        self.state = self.ingredient.initial_state(self.one.theta().detach())
        self.tasks_ended = 0

    def penalty(self) -> Tensor:
        """What is to be added to the loss, a scalar; zero, with a gradient of zero, until the first task has ended.

        Its gradient by the parameters is the ingredient's, to the last bit. The value is that of the quadratic which
        is zero at its centre; the sum over several anchors is higher by a constant, which has no gradient.
        """
        theta = self.one.theta()
        self._follow()
        gradient, centre = torch.zeros_like(theta), theta.detach()
        if self.tasks_ended:
            gradient = self.ingredient.gradient(theta.detach(), self.state, self._numbers())
            centre = self.state[self.centre]
        penalty: Tensor = _Quadratic.apply(theta, gradient, centre)
        return penalty

    def forward(self) -> Tensor:
        """`penalty()`."""
        return self.penalty()

    def contents(self) -> dict[str, Tensor]:
        return {**to_named(self.one.layout, self.state), "tasks_ended": counted(self.tasks_ended)}

    def take(self, contents: Mapping[str, Tensor]) -> None:
        fitting = require_fit(self.where, contents, self.contents())
        self.tasks_ended = int(fitting.pop("tasks_ended"))
        self.state = from_named(self.one.layout, fitting)

    def take_kept(self, start: Opened) -> None:
        old, grown = known_network(self.one, start)
        theta, n_tasks = self.one.theta().detach().cpu(), len(start.about.tasks)
        begun = self.ingredient.initial_state(theta)
        if start.state:
            self.state = state_in(self.remedy, start, grown, begun)
        else:  # what goes on without a state makes it of the weights
            known = grown.vector(grown.old.flatten(dict(old.named_parameters())).detach(), theta)
            numbers = numbers_of(self.kind, self.values, known.device)
            self.state = self.ingredient.consolidate(known, begun, numbers, n_tasks - 1, no_examples(theta))
        self.tasks_ended = n_tasks

    def _end_task(self, examples: Examples) -> None:
        """Keeps what the ingredient keeps of a task that has ended with the weights of now."""
        with evaluating(self.one.model):
            theta = self.one.theta().detach()
            self._follow()
            numbers = self._numbers()
            self.state = self.ingredient.consolidate(theta, self.state, numbers, self.tasks_ended, examples)
        self.tasks_ended += 1

    def _chosen(self, data: Data, mask: Tensor | None, labels_count: bool) -> Examples:
        """Those of the ended task's examples that the ingredient is to see: the ones that a run of a sweep with this
        seed would choose from examples in this order. With `labels_count` each label must be an active output."""
        x, y = gathered(data, self.where)
        active = active_outputs(mask, len(x), self.one.n_outputs, self.where)
        if labels_count:
            require_active(y, active, self.where)
        size = self.ingredient.n_examples(len(x))
        run = RunSpec(0, self.seed, {})
        chosen, uniform, _ = examples_to_consolidate([run], np.arange(len(x)), self.tasks_ended, size, 0)
        theta, indices = self.one.theta().detach(), torch.from_numpy(chosen[0])
        x, y, active = (part[indices.to(part.device)].to(theta.device) for part in (x, y, active))
        with evaluating(self.one.model):
            self.ingredient.context.forward(theta, x[:1])  # what it does not answer as it should, it refuses
        return Examples(x, y, active, torch.from_numpy(uniform[0]).to(theta.device), theta.new_empty(size, 0))

    def _numbers(self) -> Values:
        return numbers_of(self.kind, self.values, self.one.device)

    def _follow(self) -> None:
        """Follows the model to its device."""
        self.state = {name: value.to(self.one.device) for name, value in self.state.items()}


def no_examples(theta: Tensor) -> Examples:
    """For an ingredient that looks at none."""
    nothing = theta.detach().new_empty(0)
    return Examples(nothing, nothing, nothing, nothing, nothing)


class _Quadratic(torch.autograd.Function):
    """The value at `theta` (P,) of the quadratic form that is zero at `centre` and has this `gradient` there, with this
    gradient and no other: for a form q(d), <∇q(d), d> = 2 q(d), by Euler's theorem on homogeneous functions."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, gradient: Tensor, centre: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return 0.5 * torch.dot(gradient, theta - centre)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return by_value * gradient, None, None
