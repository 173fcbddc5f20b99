"""The steps of one task, for every row of a stack at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training import optimizers
from cfsweep.training.batches import orders
from cfsweep.training.ingredients import Ingredient, State
from cfsweep.training.losses import ByName, Losses, Slopes
from cfsweep.training.moments import Moments
from cfsweep.training.parts import PackParts
from cfsweep.training.randomness import torch_seed
from cfsweep.training.stack import Stack

BLOCK_FLOATS = 2**19  # rows updated together on a CPU: as many as its cache holds
EVERY_ROW = slice(None)


class TaskLoop:
    """Trains one task on `examples` (n,), in place in `stack`; what lives for one task only lives here.

    `on_curve(step, moving)` is called at the steps where curves are to be noted, with the rows (rows,) bool that have
    not finished the task; `accuracies(learned)` gives the validation accuracies (rows, T) of the tasks seen.

    The optimizer starts afresh with each task, or goes on from where the last one ended (`optimizer_state`), whatever
    became of the weights in between; then its step is counted over all tasks.
    """

    def __init__(
        self,
        parts: PackParts,
        stack: Stack,
        task: int,
        examples: NDArray[np.int64],
        on_curve: Callable[[int, Tensor], None],
        accuracies: Callable[[int], Tensor],
    ) -> None:
        self.parts, self.stack, self.task = parts, stack, task
        self.on_curve, self.accuracies = on_curve, accuracies
        self.epochs, self.batch_size = int(parts.settings["epochs"]), int(parts.settings["batch_size"])
        self.optimizer = str(parts.settings["optimizer"])
        order = orders(
            self.stack.representatives,
            examples,
            task,
            self.epochs,
            self.batch_size,
            parts.ingredients,
            self.stack.memories,
        )
        self.orders = torch.from_numpy(order).to(parts.device)  # (rows, epochs, n)
        self.present = self._present(order)  # (rows, T) bool: the tasks that examples are drawn from
        self.moments = Moments(self.optimizer, parts.settings["optimizer_state"] == "kept", stack)
        self.bad_step = torch.full((len(self.stack),), -1, device=parts.device)
        self.finished_at = torch.full((len(self.stack),), -1, device=parts.device)  # the step of a `check` that said so
        self.total = self.epochs * -(-examples.size // self.batch_size)
        self.step = 0
        self.after_mid = False
        self.losses = Losses(parts, stack, task, self.total)
        self.freezing = self._having("trainable")
        self.cutting = self._having("mid_task")
        self.checking = {i: _check_steps(i.n_checks(self.epochs), self.total) for i in self._having("check")}
        self.slowing = self._having("rate")
        self.noting = self._having("after_step")
        self.steering = self._having("gradient") if task > 0 else []
        self.rate_by_weight = self._rate_by_weight()

    @property
    def first_bad(self) -> list[int]:
        """For each row the first step (from 1) whose loss was not finite, or -1."""
        steps: list[int] = self.bad_step.tolist()
        return steps

    @property
    def steps_taken(self) -> list[int]:
        """For each row the number of its steps."""
        steps: list[int] = torch.where(self.finished_at >= 0, self.finished_at, self.step).tolist()
        return steps

    def run(self) -> None:
        """Takes all steps of the task, or as many as there are rows that want them."""
        parts = self.parts
        points = parts.spec.curve_points_per_task
        curve_steps = {round(self.total * (k + 1) / (points + 1)) for k in range(points)}
        mid_step = round(self.cutting[0].mid_frac() * self.total) if self.cutting else -1
        parts.lifted.module.train()
        self._check()
        self._make_leaves()
        self._hold()
        # Only a network that is called as it is may draw random numbers of torch's own (dropout).
        with torch.random.fork_rng(devices=[], enabled=not parts.lifted.liftable):
            if not parts.lifted.liftable:
                torch.manual_seed(torch_seed(self.stack.representatives[0].seed, "torch", self.task))
            for epoch, at in itertools.product(range(self.epochs), range(0, self.orders.shape[-1], self.batch_size)):
                if self.step == mid_step:
                    self._mid_task()
                self._one_step(self.orders[:, epoch, at : at + self.batch_size])
                if self.step in curve_steps:
                    self.on_curve(self.step, self.finished_at < 0)
                if self.checking and self._check():
                    break
        if mid_step == self.total:
            self._mid_task()
        self.moments.hand_on(self.stack, self.total)

    def _one_step(self, indices: Tensor) -> None:
        """One mini-batch of every row; `indices` is (rows, batch)."""
        slopes = self.losses.slopes(self.leaves, indices, self.step)
        self.step += 1
        with torch.no_grad():
            bad = ~torch.isfinite(slopes.loss) & (self.bad_step < 0) & (self.finished_at < 0)
            self.bad_step.masked_fill_(bad, self.step)
            rates = self._rates()
            for rows in self._blocks():
                self._update(slopes, rates.rows(rows), rows)

    def _update(self, slopes: Slopes, rates: optimizers.Rates, rows: slice) -> None:
        stack, layout = self.stack, self.parts.layout
        theta = stack.theta[rows]

        def flat(gradients: ByName, out: Tensor | None = None) -> Tensor:
            return layout.flatten({k: g[rows] for k, g in gradients.items()}, out=out)

        gradient = flat(slopes.gradients, out=self.scratch[: len(theta)])
        noted = (gradient.clone(), theta.clone()) if self.noting else ()
        keep = optimizers.keep_rows(self.keep, rows)
        for ingredient in self.steering:
            gradient = stack.over_rows(ingredient.gradient, gradient, theta, *self._own(ingredient, rows))
        for name, reference in slopes.references.items():
            ingredient = self.losses.recalls[name][0]
            seen = optimizers.hold(flat(reference), keep)  # what is held still can neither help nor harm
            gradient = stack.over_rows(ingredient.project, gradient, seen, self._own(ingredient, rows)[1])
        if self.checking:  # 0 * NaN would move a run that has finished
            gradient.masked_fill_(self._finished(theta, rows), 0.0)
        step = self.moments.steps_before + self.step
        optimizers.update(self.optimizer, theta, gradient, self.moments.rows(rows), rates, step, keep)
        for ingredient in self.noting:
            changed = stack.over_rows(ingredient.after_step, *noted, theta, *self._own(ingredient, rows))
            self._note(ingredient, changed, rows)

    def _note(self, ingredient: Ingredient, changed: State, rows: slice = EVERY_ROW) -> None:
        """Takes over the new state of those rows that have not finished the task."""
        state = self.stack.states[ingredient.name]
        for name, value in changed.items():
            kept = state[name][rows]
            kept.copy_(torch.where(self._finished(value, rows), kept, value) if self.checking else value)

    def _finished(self, like: Tensor, rows: slice = EVERY_ROW) -> Tensor:
        """(rows, 1, ...) bool, to be broadcast over `like` (rows, ...)."""
        return (self.finished_at[rows] >= 0).reshape(-1, *(1 for _ in like.shape[1:]))

    def _own(self, ingredient: Ingredient, rows: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The ingredient's state and its values, of some rows."""
        state = {k: v[rows] for k, v in self.stack.states[ingredient.name].items()}
        return state, {h.name: self.stack.values[h.name][rows] for h in ingredient.hypers if not h.structural}

    def _rates(self) -> optimizers.Rates:
        rates = self.stack.rates
        for ingredient in self.slowing:
            factor = self.stack.over_rows(lambda v, i=ingredient: i.rate(v, self.step, self.total), self.stack.values)
            rates = replace(rates, lr=rates.lr * factor.unsqueeze(1))
        return replace(rates, by_weight=self.rate_by_weight)

    def _rate_by_weight(self) -> optimizers.ByWeight | None:
        product: Tensor | None = None
        for ingredient in self._having("weight_rates"):
            factors = self.stack.over_rows(ingredient.weight_rates, self.stack.theta, self.stack.values)
            product = factors if product is None else product * factors
        return None if product is None else optimizers.ByWeight.of(product)

    # ------------------------------------------------------------------ events within the task

    def _mid_task(self) -> None:
        """Lets the ingredients cut."""
        stack = self.stack
        moved = stack.spread("mid") if self.task == 0 else None
        if moved is not None:
            self.orders, self.present, self.bad_step = self.orders[moved], self.present[moved], self.bad_step[moved]
            self.finished_at = self.finished_at[moved]
            self.moments.regroup(moved)
            self.rate_by_weight = self._rate_by_weight()
        with torch.no_grad():
            for ingredient in self.cutting:
                stack.theta, stack.states[ingredient.name] = stack.over_rows(
                    lambda t, s, v, i=ingredient: i.mid_task(t, s, v, self.task),
                    stack.theta,
                    stack.states[ingredient.name],
                    stack.values,
                )
            self.after_mid = True
            self._hold()
        self._make_leaves()

    def _check(self) -> bool:
        """Shows the ingredients how the tasks stand, where that is due; returns whether every row has finished."""
        due = {i: steps[self.step] for i, steps in self.checking.items() if self.step in steps}
        if not due:
            return False
        stack = self.stack
        with torch.no_grad():
            accuracies = self.accuracies(self.task + (self.step > 0))
            for ingredient, number in due.items():
                theta, state, finished = stack.over_rows(
                    lambda t, s, v, a, i=ingredient, n=number: i.check(t, s, v, a, self.task, n),
                    stack.theta,
                    stack.states[ingredient.name],
                    stack.values,
                    accuracies,
                )
                self._note(ingredient, state)
                stack.theta.copy_(torch.where(self._finished(theta), stack.theta, theta))
                self.finished_at.masked_fill_((self.finished_at < 0) & finished, self.step)
            if self.step > 0:
                self._hold()
        return bool((self.finished_at >= 0).all())

    def _hold(self) -> None:
        """Decides anew what may move, and stills the optimizer for the rest."""
        self.keep = self._keep()
        self.moments.hold(self.keep, self.finished_at >= 0, self.step)

    def _keep(self) -> optimizers.Keep:
        """What may move: outputs open to some example of this task's batches, less what ingredients freeze, and
        nothing at all of a row that has finished the task."""
        is_open = self.losses.open_outputs(self.present)
        head = [] if bool(is_open.all()) else self.parts.layout.head_rows(is_open.to(torch.float32))
        finished = self.finished_at >= 0
        if not self.freezing and not bool(finished.any()):
            return head
        moves = torch.ones_like(self.stack.theta).masked_fill_(finished.unsqueeze(1), 0.0)
        for ingredient in self.freezing:
            allowed = self.stack.over_rows(
                lambda s, v, i=ingredient: i.trainable(s, v, self.task, self.after_mid),
                self.stack.states[ingredient.name],
                self.stack.values,
            )
            moves.mul_(allowed)
        return [(slice(None), optimizers.hold(moves, head))]

    # ------------------------------------------------------------------ what the steps work with

    def _having(self, hook: str) -> list[Ingredient]:
        return [i for i in self.parts.ingredients if i.has(hook)]

    def _make_leaves(self) -> None:
        """Views of the stacked weights that collect gradients; made anew whenever the stack is a new tensor."""
        views = self.parts.layout.unflatten(self.stack.theta)
        self.leaves = {name: view.detach().requires_grad_(True) for name, view in views.items()}
        block = self._blocks()[0]
        self.scratch = torch.empty(block.stop - block.start, self.parts.layout.size, device=self.parts.device)

    def _blocks(self) -> list[slice]:
        n_rows = len(self.stack)
        on_cpu = self.parts.device.type == "cpu"
        size = max(1, BLOCK_FLOATS // self.parts.layout.size) if on_cpu else n_rows
        return [slice(at, min(at + size, n_rows)) for at in range(0, n_rows, size)]

    def _present(self, order: NDArray[np.int64]) -> Tensor:
        tasks = np.arange(len(self.parts.stream.tasks))
        task_of = self.parts.outputs.task_of.cpu().numpy()
        return torch.from_numpy(np.stack([np.isin(tasks, task_of[row]) for row in order])).to(self.parts.device)


def _check_steps(n_checks: int, n_steps: int) -> dict[int, int]:
    """The number of the check due at each step: 0 at step 0, `n_checks` at the last one; of those that would fall on
    one step, the last.

    >>> _check_steps(2, 10)
    {0: 0, 5: 1, 10: 2}
    >>> _check_steps(4, 2)
    {0: 0, 1: 2, 2: 4}
    """
    return {0: 0} | {max(1, round(n_steps * k / n_checks)): k for k in range(1, n_checks + 1)}
