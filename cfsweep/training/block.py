"""Some rows of a stack that take their steps together, from one event of a task to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cfsweep.training.engine import optimizers
from cfsweep.training.engine.optimizer_state import OptimizerState
from cfsweep.training.ingredients import State, StepObserver
from cfsweep.training.losses import FlatGradient, Losses
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack, declared_only, over_one_row, over_rows

# Floats of weights that are updated together on a CPU: with their gradients and moments as many as its cache holds.
# A network of more goes row by row, and ingredients are then called as they are, without the cost of vmap.
BLOCK_FLOATS = 2**19


def blocks(n_rows: int, n_weights: int, device: torch.device) -> list[slice]:
    """The rows that step together: on a GPU all, because large products are fast there; on a CPU what fits its cache.

    >>> blocks(3, 2**18, torch.device("cpu"))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, BLOCK_FLOATS // n_weights) if device.type == "cpu" else n_rows
    return [slice(at, min(at + size, n_rows)) for at in range(0, n_rows, size)]


@dataclass(frozen=True)
class TaskSteps:
    """What the steps of one task have in common, for all rows of a stack.

    `orders` (rows, epochs, n) are the examples in order; `loss_by_step` (rows, n_steps) is where each step's loss is
    written; `n_steps` counts those of the task.
    """

    context: PackContext
    stack: Stack
    task: int
    n_steps: int
    losses: Losses
    orders: Tensor
    optimizer_state: OptimizerState
    loss_by_step: Tensor


class Block:
    """The rows `rows` of a stack. All it changes, it changes in place: weights, states of optimizer and ingredients,
    and the losses of the steps.

    `keep` says what may move, `finished` (rows,) bool which rows have ended the task, or None if none can.
    """

    def __init__(
        self,
        steps: TaskSteps,
        rows: slice,
        rates: optimizers.Rates,
        keep: optimizers.UpdateMask,
        finished: Tensor | None,
    ) -> None:
        context, stack = steps.context, steps.stack
        self.steps, self.losses = steps, steps.losses.rows(rows)
        self.optimizer, self.batch_size = str(context.settings["optimizer"]), int(context.settings["batch_size"])
        self.penalties = context.timeline.penalties if steps.task > 0 else ()
        self.theta, self.orders, self.loss_by_step = stack.theta[rows], steps.orders[rows], steps.loss_by_step[rows]
        self.labels = context.outputs.labels[self.orders]
        self.optimizer_state = steps.optimizer_state.rows(rows)
        self.rates, self.keep = rates.rows(rows), optimizers.mask_rows(keep, rows)
        self.finished = None if finished is None else finished[rows].unsqueeze(1)
        self.own = {
            i.name: (
                {name: value[rows] for name, value in stack.states[i.name].items()},
                {name: value[rows] for name, value in stack.values_of(i).items()},
            )
            for i in context.ingredients
        }
        # Which way is taken depends on the network alone: a run must get the bits in a pack that it gets alone.
        by_row = context.device.type == "cpu" and context.layout.size > BLOCK_FLOATS // 2
        self.over_rows = over_rows if stack.vmappable and not by_row else over_one_row
        self.weights = context.lifted.weights(context.layout.unflatten(self.theta))
        self.gradient = _empty_gradient(context, self.theta)
        self.replayed = {name: _empty_gradient(context, self.theta) for name in self.losses.replays}

    def run(self, first: int, last: int, between: Callable[[int], None]) -> None:
        """Takes the steps from `first` to before `last`, counted from 0 over the task; between two of them `between` is
        called, with the number of the next one."""
        per_epoch = -(-self.orders.shape[-1] // self.batch_size)
        for step in range(first, last):
            if step > first:
                between(step)
            epoch, number = divmod(step, per_epoch)
            here = (slice(None), epoch, slice(number * self.batch_size, (number + 1) * self.batch_size))
            self.loss_by_step[:, step] = self.losses.loss_and_gradient(
                self.weights,
                self.orders[here],
                self.labels[here],
                step,
                self.own,
                self.over_rows,
                self.gradient,
                self.replayed,
            )
            with torch.no_grad():
                self._update(step + 1)

    def _update(self, step: int) -> None:
        gradient, theta = self.gradient.whole, self.theta
        observers = self.steps.context.timeline.step_observers
        observed = (gradient.clone(), theta.clone()) if observers else ()
        for penalty in self.penalties:
            gradient.add_(self.over_rows(penalty.gradient, theta, *self.own[penalty.name]))
        for projection in self.steps.context.timeline.projections:
            if projection.name in self.replayed:
                # A weight that is held still can neither help nor harm.
                reference = optimizers.apply_mask(self.replayed[projection.name].whole, self.keep)
                gradient = self.over_rows(projection.project, gradient, reference, self.own[projection.name][1])
        if self.finished is not None:  # 0 * NaN would move a run that has finished
            gradient.masked_fill_(self.finished, 0.0)
        n = self.steps.optimizer_state.steps_before + step
        optimizers.update(self.optimizer, theta, gradient, self.optimizer_state, self._rates(step), n, self.keep)
        for observer in observers:
            changed = self.over_rows(observer.observe_step, *observed, theta, *self.own[observer.name])
            self._write_state(observer, changed)

    def _write_state(self, observer: StepObserver, changed: State) -> None:
        states = self.own[observer.name][0]
        declared_only(observer, states, changed)
        for name, value in changed.items():
            state = states[name]
            if self.finished is not None:
                value = torch.where(self.finished.reshape(-1, *(1 for _ in value.shape[1:])), state, value)
            state.copy_(value)

    def _rates(self, step: int) -> optimizers.Rates:
        rates, n_steps = self.rates, self.steps.n_steps
        for ingredient in self.steps.context.timeline.rates_by_step:
            values = self.own[ingredient.name][1]
            factor = self.over_rows(lambda v, i=ingredient: i.rate(v, step, n_steps), values)
            rates = replace(rates, lr=rates.lr * factor.unsqueeze(1))
        return rates


def _empty_gradient(context: PackContext, like: Tensor) -> FlatGradient:
    whole = torch.empty_like(like)
    return FlatGradient(whole, context.lifted.weights(context.layout.unflatten(whole)))
