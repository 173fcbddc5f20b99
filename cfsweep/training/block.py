"""Some rows of a stack that take their steps together, from one event of a task to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cfsweep.training import optimizers
from cfsweep.training.ingredients import Ingredient, State
from cfsweep.training.losses import Flat, Losses
from cfsweep.training.moments import Moments
from cfsweep.training.parts import PackParts
from cfsweep.training.stack import Stack, over_one_row, over_rows

# Floats of weights that are updated together on a CPU: with their gradients and moments as many as its cache holds.
# A network of more goes row by row, and hooks are then called as they are, without the cost of vmap.
BLOCK_FLOATS = 2**19


def blocks(n_rows: int, n_weights: int, device: torch.device) -> list[slice]:
    """The rows that step together: all of them on a GPU, which lives on large products; what fits the cache on a CPU.

    >>> blocks(3, 2**18, torch.device("cpu"))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, BLOCK_FLOATS // n_weights) if device.type == "cpu" else n_rows
    return [slice(at, min(at + size, n_rows)) for at in range(0, n_rows, size)]


@dataclass(frozen=True)
class StepHooks:
    """The ingredients that take part in an update, by what they do in it, and the task's number of steps."""

    steering: list[Ingredient]
    slowing: list[Ingredient]
    noting: list[Ingredient]
    n_steps: int


class Block:
    """The rows `rows` of a stack. All it changes, it changes in place: weights, states, moments, and `seen`, the loss
    (rows, n_steps) of each step.

    `orders` (rows, epochs, n) are the examples in order, `keep` what may move, `finished` (rows,) bool the rows that
    have ended the task, or None if none can.
    """

    def __init__(
        self,
        parts: PackParts,
        stack: Stack,
        rows: slice,
        losses: Losses,
        hooks: StepHooks,
        orders: Tensor,
        moments: Moments,
        rates: optimizers.Rates,
        keep: optimizers.Keep,
        finished: Tensor | None,
        seen: Tensor,
    ) -> None:
        self.hooks, self.losses = hooks, losses.rows(rows)
        self.optimizer, self.batch_size = str(parts.settings["optimizer"]), int(parts.settings["batch_size"])
        self.theta, self.orders, self.seen = stack.theta[rows], orders[rows], seen[rows]
        self.labels = parts.outputs.labels[self.orders]
        self.moments, self.steps_before = moments.rows(rows), moments.steps_before
        self.rates, self.keep = rates.rows(rows), optimizers.keep_rows(keep, rows)
        self.finished = None if finished is None else finished[rows].unsqueeze(1)
        self.values = {name: value[rows] for name, value in stack.values.items()}
        self.own = {
            i.name: (
                {name: value[rows] for name, value in stack.states[i.name].items()},
                {h.name: self.values[h.name] for h in i.hypers if not h.structural},
            )
            for i in parts.ingredients
        }
        # Which way is taken depends on the network alone: a run must get the bits in a pack that it gets alone.
        by_row = parts.device.type == "cpu" and parts.layout.size > BLOCK_FLOATS // 2
        self.over_rows = over_rows if stack.vmappable and not by_row else over_one_row
        self.weights = parts.lifted.weights(parts.layout.unflatten(self.theta))
        self.gradient = _flat(parts, self.theta)
        self.recalled = {name: _flat(parts, self.theta) for name in self.losses.recalls}

    def run(self, first: int, last: int) -> None:
        """Takes the steps from `first` to before `last`, counted from 0 over the task."""
        per_epoch = -(-self.orders.shape[-1] // self.batch_size)
        for step in range(first, last):
            epoch, number = divmod(step, per_epoch)
            here = (slice(None), epoch, slice(number * self.batch_size, (number + 1) * self.batch_size))
            indices, labels = self.orders[here], self.labels[here]
            self.seen[:, step] = self.losses.step(
                self.weights, indices, labels, step, self.own, self.over_rows, self.gradient, self.recalled
            )
            with torch.no_grad():
                self._update(step + 1)

    def _update(self, step: int) -> None:
        gradient, theta = self.gradient.whole, self.theta
        noted = (gradient.clone(), theta.clone()) if self.hooks.noting else ()
        for ingredient in self.hooks.steering:
            gradient = self.over_rows(ingredient.gradient, gradient, theta, *self.own[ingredient.name])
        for name, reference in self.recalled.items():
            ingredient = self.losses.recalls[name][0]
            if ingredient.has("project"):
                seen = optimizers.hold(reference.whole, self.keep)  # what is held still can neither help nor harm
                gradient = self.over_rows(ingredient.project, gradient, seen, self.own[name][1])
        if self.finished is not None:  # 0 * NaN would move a run that has finished
            gradient.masked_fill_(self.finished, 0.0)
        n = self.steps_before + step
        optimizers.update(self.optimizer, theta, gradient, self.moments, self._rates(step), n, self.keep)
        for ingredient in self.hooks.noting:
            self._note(ingredient, self.over_rows(ingredient.after_step, *noted, theta, *self.own[ingredient.name]))

    def _note(self, ingredient: Ingredient, changed: State) -> None:
        for name, value in changed.items():
            kept = self.own[ingredient.name][0][name]
            if self.finished is not None:
                value = torch.where(self.finished.reshape(-1, *(1 for _ in value.shape[1:])), kept, value)
            kept.copy_(value)

    def _rates(self, step: int) -> optimizers.Rates:
        rates = self.rates
        for ingredient in self.hooks.slowing:
            factor = self.over_rows(lambda v, i=ingredient: i.rate(v, step, self.hooks.n_steps), self.values)
            rates = replace(rates, lr=rates.lr * factor.unsqueeze(1))
        return rates


def _flat(parts: PackParts, like: Tensor) -> Flat:
    whole = torch.empty_like(like)
    return Flat(whole, parts.lifted.weights(parts.layout.unflatten(whole)))
