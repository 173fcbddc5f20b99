"""The steps of one task, for every row of a stack at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training import optimizers
from cfsweep.training.batches import orders
from cfsweep.training.block import Block, StepHooks, blocks
from cfsweep.training.ingredients import Ingredient
from cfsweep.training.losses import Losses
from cfsweep.training.moments import Moments
from cfsweep.training.parts import PackParts
from cfsweep.training.precision import products_in
from cfsweep.training.randomness import torch_seed
from cfsweep.training.stack import Stack


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
        self.finished_at = torch.full((len(self.stack),), -1, device=parts.device)  # the step of a `check` that said so
        self.total = self.epochs * -(-examples.size // self.batch_size)
        self.seen = torch.zeros(len(self.stack), self.total, device=parts.device)  # the loss of each step
        self.step = 0
        self.after_mid = False
        self.losses = Losses.of(parts, stack, task, self.total, self.present)
        self.freezing = self._having("trainable")
        self.cutting = self._having("mid_task")
        self.checking = {i: _check_steps(i.n_checks(self.epochs), self.total) for i in self._having("check")}
        self.hooks = StepHooks(
            steering=self._having("gradient") if task > 0 else [],
            slowing=self._having("rate"),
            noting=self._having("after_step"),
            n_steps=self.total,
        )
        self.rate_by_weight = self._rate_by_weight()

    @property
    def first_bad(self) -> list[int]:
        """For each row the first step (from 1) whose loss was not finite, or -1."""
        bad = ~torch.isfinite(self.seen)
        bad &= torch.arange(self.total, device=bad.device) < self._steps_taken().unsqueeze(1)
        steps: list[int] = torch.where(bad.any(1), bad.to(torch.int8).argmax(1) + 1, -1).tolist()
        return steps

    @property
    def steps_taken(self) -> list[int]:
        """For each row the number of its steps."""
        steps: list[int] = self._steps_taken().tolist()
        return steps

    def run(self) -> None:
        """Takes all steps of the task, or as many as there are rows that want them."""
        parts = self.parts
        points = parts.spec.curve_points_per_task
        curve_steps = {round(self.total * (k + 1) / (points + 1)) for k in range(points)}
        mid_step = round(self.cutting[0].mid_frac() * self.total) if self.cutting else -1
        events = {mid_step, self.total, *curve_steps, *(step for steps in self.checking.values() for step in steps)}
        parts.lifted.module.train()
        self._check()
        self._hold()
        # Only a network that is called as it is may draw random numbers of torch's own (dropout).
        with torch.random.fork_rng(devices=[], enabled=not parts.lifted.liftable):
            if not parts.lifted.liftable:
                torch.manual_seed(torch_seed(self.stack.representatives[0].seed, "torch", self.task))
            while self.step < self.total:
                if self.step == mid_step:
                    self._mid_task()
                self._advance(min(step for step in events if step > self.step))
                if self.step in curve_steps:
                    self.on_curve(self.step, self.finished_at < 0)
                if self.checking and self._check():
                    break
        if mid_step == self.total:
            self._mid_task()
        self.moments.hand_on(self.stack, self.total)

    def _advance(self, until: int) -> None:
        """Takes the steps up to the next event. On a CPU a few rows take them all, then the next few: so their weights
        and moments stay in its cache."""
        finished = self.finished_at >= 0 if self.checking else None
        rates = replace(self.stack.rates, by_weight=self.rate_by_weight)
        with products_in(str(self.parts.settings["precision"])):
            for rows in blocks(len(self.stack), self.parts.layout.size, self.parts.device):
                Block(
                    self.parts,
                    self.stack,
                    rows,
                    self.losses,
                    self.hooks,
                    self.orders,
                    self.moments,
                    rates,
                    self.keep,
                    finished,
                    self.seen,
                ).run(self.step, until)
        self.step = until

    def _steps_taken(self) -> Tensor:
        return torch.where(self.finished_at >= 0, self.finished_at, self.step)

    def _finished(self, like: Tensor) -> Tensor:
        """(rows, 1, ...) bool, to be broadcast over `like` (rows, ...)."""
        return (self.finished_at >= 0).reshape(-1, *(1 for _ in like.shape[1:]))

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
            self.orders, self.present, self.seen = self.orders[moved], self.present[moved], self.seen[moved]
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
                for name, value in state.items():
                    kept = stack.states[ingredient.name][name]
                    kept.copy_(torch.where(self._finished(value), kept, value))
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
        is_open = self.losses.open_outputs(self.stack, self.present)
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
