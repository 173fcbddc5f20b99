"""The steps of one task, for every row of a stack at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.batches import orders
from cfsweep.training.block import Block, TaskSteps, blocks
from cfsweep.training.engine import optimizers
from cfsweep.training.engine.optimizer_state import OptimizerState
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.losses import Losses
from cfsweep.training.pack_context import PackContext
from cfsweep.training.precision import matmul_precision
from cfsweep.training.stack import Stack, declared_only
from cfsweep.training.task_end import buffers_within
from cfsweep.training.within_task import Pauses, Progress, random_state, set_random_state


class TaskLoop:
    """Trains one task on `examples` (n,), in place in `stack`; what lives for one task only lives here.

    `on_curve(step, moving)` is called at the steps where curves are to be noted, with the rows (rows,) bool that have
    not finished the task; `steering_scores(learned, tasks)` gives those (rows, T) on the steering examples of `tasks`.

    The optimizer starts afresh with each task, or goes on from where the last one ended (`optimizer_state`), whatever
    became of the weights in between; then its step is counted over all tasks.
    """

    def __init__(
        self,
        context: PackContext,
        stack: Stack,
        task: int,
        examples: NDArray[np.int64],
        on_curve: Callable[[int, Tensor], None],
        steering_scores: Callable[[int, Iterable[int]], Tensor],
    ) -> None:
        self.context, self.stack, self.task = context, stack, task
        self.on_curve, self.steering_scores = on_curve, steering_scores
        settings, timeline = context.settings, context.timeline
        epochs, batch_size = int(settings["epochs"]), int(settings["batch_size"])
        buffers = {i.name: buffers_within(context, stack, i, task) for i in timeline.mixed_replays}
        order = orders(stack.representatives, examples, task, epochs, batch_size, timeline.mixed_replays, buffers)
        self.orders = torch.from_numpy(order).to(context.device)  # (rows, epochs, n)
        self.present = self._present(order)  # (rows, T) bool: the tasks that examples are drawn from
        self.optimizer_state = OptimizerState(
            str(settings["optimizer"]),
            settings["optimizer_state"] == "kept",
            stack.theta,
            stack.optimizer,
            stack.optimizer_steps,
        )
        # The step of a check that said so; 0 where a closed form wants no step.
        self.finished_at = torch.where(without_steps(context, stack, task), 0, -1)
        self.some_finish = bool(timeline.stop_rules or timeline.closed_forms)
        self.n_steps = epochs * -(-examples.size // batch_size)
        self.loss_by_step = torch.zeros(len(stack), self.n_steps, device=context.device)
        self.step = 0
        self.after_cut = False
        self.losses = Losses.of(context, stack, task, self.orders, self.present)
        self.check_numbers = {rule: _check_steps(rule.n_checks(epochs), self.n_steps) for rule in timeline.stop_rules}
        self.rate_by_weight = self._rate_by_weight()

    def _holds_statistics(self) -> bool:
        """Whether running statistics stay as the first task left them. They are those of one run, as a network that has
        any trains in packs of one."""
        return self.task > 0 and any(
            partition.holds_statistics and not partition.is_off(self.stack.representatives[0].values)
            for partition in self.context.timeline.partitions
        )

    @property
    def first_bad(self) -> list[int]:
        """For each row the first step (from 1) whose loss was not finite, or -1."""
        bad = ~torch.isfinite(self.loss_by_step)
        bad &= torch.arange(self.n_steps, device=bad.device) < self._steps_taken().unsqueeze(1)
        steps: list[int] = torch.where(bad.any(1), bad.to(torch.int8).argmax(1) + 1, -1).tolist()
        return steps

    @property
    def steps_taken(self) -> list[int]:
        """For each row the number of its steps."""
        steps: list[int] = self._steps_taken().tolist()
        return steps

    def run(self, begin: Progress | None = None, pauses: Pauses | None = None) -> None:
        """Takes all steps of the task, or as many as there are rows that want them. `begin` is where to go on, and
        `pauses` are made between steps; they are for one run alone."""
        self.pauses = pauses
        context, cuts = self.context, self.context.timeline.cuts
        points = context.spec.curve_points_per_task
        curve_steps = {round(self.n_steps * (k + 1) / (points + 1)) for k in range(points)}
        cut_step = round(cuts[0].cut_frac() * self.n_steps) if cuts else -1
        check_steps = {step for numbers in self.check_numbers.values() for step in numbers}
        events = {cut_step, self.n_steps, *curve_steps, *check_steps}
        context.lifted.holds_statistics = self._holds_statistics()
        context.lifted.train_mode()
        if begin is None:
            self._check()
            self._renew_mask()
            if self.some_finish:
                self.losses.close(self.finished_at >= 0)
        with context.lifted.draws(torch_seed(self.stack.representatives[0].seed, "torch", self.task)):
            if begin is not None:
                self._take_up(begin)
                self.keep = self._update_mask()
            steps_wanted = not self.some_finish or bool((self.finished_at < 0).any())
            while steps_wanted and self.step < self.n_steps:
                if self.step == cut_step:
                    self._cut()
                self._advance(min(step for step in events if step > self.step))
                if self.step in curve_steps:
                    self.on_curve(self.step, self.finished_at < 0)
                if self.check_numbers and self._check():
                    break
        if cut_step == self.n_steps:
            self._cut()
        self.stack.optimizer, self.stack.optimizer_steps = self.optimizer_state.after(self.n_steps)
        self.stack.buffers.update(self.losses.filled(self.steps_taken))

    def _advance(self, until: int) -> None:
        """Takes the steps up to the next event. On a CPU a few rows take them all, then the next few: so their weights
        and moments stay in its cache."""
        finished = self.finished_at >= 0 if self.some_finish else None
        rates = replace(self.stack.rates, by_weight=self.rate_by_weight)
        steps = TaskSteps(
            self.context,
            self.stack,
            self.task,
            self.n_steps,
            self.losses,
            self.orders,
            self.optimizer_state,
            self.loss_by_step,
        )
        with matmul_precision(str(self.context.settings["precision"])):
            for rows in blocks(len(self.stack), self.context.layout.size, self.context.device):
                Block(steps, rows, rates, self.keep, finished).run(self.step, until, self._between_steps)
        self.step = until

    def _between_steps(self, step: int) -> None:
        if self.pauses is not None:
            self.step = step
            self.pauses.between_steps()

    def progress(self) -> Progress:
        """What the steps so far have changed, tensors and plain containers, for `run` to begin with. It is that of one
        run, between two steps with no event between them."""
        return {
            "step": self.step,
            "after_cut": self.after_cut,
            "moving": self._moving(),
            "statistics": self.context.statistics(),
            "random": random_state(self.context.device),
        }

    def _take_up(self, progress: Progress) -> None:
        self.step, self.after_cut = progress["step"], progress["after_cut"]
        for name, value in self._moving().items():
            value.copy_(progress["moving"][name])
        self.context.load_statistics(progress["statistics"])
        if not self.context.lifted.liftable:  # else none are drawn, and those of this process are its own
            set_random_state(progress["random"], self.context.device)

    def _moving(self) -> dict[str, Tensor]:
        """What steps change in place."""
        by_room = {
            "": {"theta": self.stack.theta, "finished_at": self.finished_at, "loss_by_step": self.loss_by_step},
            "optimizer": self.optimizer_state.state,
            "aside": self.optimizer_state.aside,
            **{f"state.{name}": state for name, state in self.stack.states.items()},
            **{f"filling.{name}": filling for name, filling in self.losses.filling().items()},
        }
        return {f"{room}/{name}": value for room, values in by_room.items() for name, value in values.items()}

    def _steps_taken(self) -> Tensor:
        return torch.where(self.finished_at >= 0, self.finished_at, self.step)

    def _finished(self, like: Tensor) -> Tensor:
        """(rows, 1, ...) bool, to be broadcast over `like` (rows, ...)."""
        return (self.finished_at >= 0).reshape(-1, *(1 for _ in like.shape[1:]))

    def _rate_by_weight(self) -> optimizers.ByWeight | None:
        product: Tensor | None = None
        for ingredient in self.context.timeline.rates_by_weight:
            factors = self.stack.over_rows(ingredient.weight_rates, self.stack.values_of(ingredient))
            product = factors if product is None else product * factors
        return None if product is None else optimizers.ByWeight.of(product)

    # ------------------------------------------------------------------ events within the task

    def _cut(self) -> None:
        """Lets the ingredients cut. In task 0 rows are forked first, as hyperparameters of stage `cut` take effect."""
        stack = self.stack
        moved = stack.fork_rows("cut") if self.task == 0 else None
        if moved is not None:
            self.orders, self.present, self.loss_by_step = (
                self.orders[moved],
                self.present[moved],
                self.loss_by_step[moved],
            )
            self.finished_at = self.finished_at[moved]
            self.losses = self.losses.rows(moved)
            self.optimizer_state.regroup(moved)
            self.rate_by_weight = self._rate_by_weight()
        with torch.no_grad():
            for ingredient in self.context.timeline.cuts:
                stack.theta, state = stack.over_rows(
                    lambda t, s, v, i=ingredient: i.cut(t, s, v, self.task),
                    stack.theta,
                    stack.states[ingredient.name],
                    stack.values_of(ingredient),
                )
                stack.set_state(ingredient, state)
            self.after_cut = True
            self._renew_mask()

    def _check(self) -> bool:
        """Shows the stop rules how the tasks stand, where that is due; returns whether every row has finished."""
        due = {rule: numbers[self.step] for rule, numbers in self.check_numbers.items() if self.step in numbers}
        if not due:
            return False
        stack = self.stack
        with torch.no_grad():
            shown = self._shown({rule.looks_at_old for rule in due})
            for rule, number in due.items():
                theta, state, finished = stack.over_rows(
                    lambda t, s, v, a, i=rule, n=number: i.check(t, s, v, a, self.task, n),
                    stack.theta,
                    stack.states[rule.name],
                    stack.values_of(rule),
                    shown[rule.looks_at_old],
                )
                declared_only(rule, stack.states[rule.name], state)
                for name, value in state.items():
                    kept = stack.states[rule.name][name]
                    kept.copy_(torch.where(self._finished(value), kept, value))
                stack.theta.copy_(torch.where(self._finished(theta), stack.theta, theta))
                self.finished_at.masked_fill_((self.finished_at < 0) & finished, self.step)
            self.losses.close(self.finished_at >= 0)
            if self.step > 0:
                self._renew_mask()
        return bool((self.finished_at >= 0).all())

    def _shown(self, wanted: AbstractSet[bool]) -> dict[bool, Tensor]:
        """The scores (rows, T) that stop rules are shown, by whether they look at old tasks, too."""
        learned = self.task + (self.step > 0)
        tasks = {True: range(self.task + 1), False: range(self.task, self.task + 1)}
        return {old: self.steering_scores(learned, tasks[old]) for old in wanted}

    def _renew_mask(self) -> None:
        """Decides anew which weights may move, and clears the optimizer's state of the others."""
        self.keep = self._update_mask()
        self.optimizer_state.hold(self.keep, self.finished_at >= 0, self.step)

    def _update_mask(self) -> optimizers.UpdateMask:
        """What may move: outputs that learn from some example of this task, less what partitions hold, and nothing at
        all of a row that has finished the task."""
        trained = self.losses.trained_outputs(self.stack, self.present)
        head = [] if bool(trained.all()) else self.context.layout.head_rows(trained.to(torch.float32))
        finished, partitions = self.finished_at >= 0, self.context.timeline.partitions
        if not partitions and not bool(finished.any()):
            return head
        moves = torch.ones_like(self.stack.theta).masked_fill_(finished.unsqueeze(1), 0.0)
        for ingredient in partitions:
            allowed = self.stack.over_rows(
                lambda s, v, i=ingredient: i.trainable(s, v, self.task, self.after_cut),
                self.stack.states[ingredient.name],
                self.stack.values_of(ingredient),
            )
            moves.mul_(allowed)
        return [(slice(None), optimizers.apply_mask(moves, head))]

    def _present(self, order: NDArray[np.int64]) -> Tensor:
        tasks = np.arange(len(self.context.stream.tasks))
        task_of = self.context.outputs.task_of.cpu().numpy()
        return torch.from_numpy(np.stack([np.isin(tasks, task_of[row]) for row in order])).to(self.context.device)


def without_steps(context: PackContext, stack: Stack, task: int) -> Tensor:
    """The rows (rows,) bool that are to take no step in `task`: a closed form is on, which goes by features that either
    must not move any more, or cannot, as there are no weights but those of the output layer."""
    layout, still = context.layout, torch.zeros(len(stack), dtype=torch.bool, device=context.device)
    for closed_form in context.timeline.closed_forms:
        if task > 0 or not closed_form.adapts() or layout.layers == (layout.head,):
            on = [not closed_form.is_off(run.values) for run in stack.representatives]
            still = still | torch.tensor(on, device=context.device)
    return still


def _check_steps(n_checks: int, n_steps: int) -> dict[int, int]:
    """The number of the check due at each step: 0 at step 0, `n_checks` at the last one; of those that would fall on
    one step, the last.

    >>> _check_steps(2, 10)
    {0: 0, 5: 1, 10: 2}
    >>> _check_steps(4, 2)
    {0: 0, 1: 2, 2: 4}
    """
    return {0: 0} | {max(1, round(n_steps * k / n_checks)): k for k in range(1, n_checks + 1)}
