"""The steps of one task, for every row of a stack at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training import optimizers
from cfsweep.training.batches import orders
from cfsweep.training.outputs import masked_log_softmax
from cfsweep.training.parts import PackParts
from cfsweep.training.randomness import torch_seed
from cfsweep.training.stack import Stack

BLOCK_FLOATS = 2**19  # rows updated together on a CPU: as many as its cache holds


class TaskLoop:
    """Trains one task on `examples` (n,), in place in `stack`; what lives for one task only lives here.

    `on_curve(step)` is called at the steps where curves are to be noted.

    The optimizer starts afresh with each task.
    """

    def __init__(
        self,
        parts: PackParts,
        stack: Stack,
        task: int,
        examples: NDArray[np.int64],
        on_curve: Callable[[int], None],
    ) -> None:
        self.parts, self.stack, self.task, self.on_curve = parts, stack, task, on_curve
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
        self.state = {name: torch.zeros_like(self.stack.theta) for name in optimizers.STATE_NAMES[self.optimizer]}
        self.bad_step = torch.full((len(self.stack),), -1, device=parts.device)
        self.freezing = [i for i in parts.ingredients if i.has("trainable")]
        self.cutting = [i for i in parts.ingredients if i.has("mid_task")]
        self.steering = [i for i in parts.ingredients if i.has("gradient") and task > 0]
        self.total = self.epochs * -(-examples.size // self.batch_size)
        self.step = 0

    @property
    def first_bad(self) -> list[int]:
        """For each row the first step (from 1) whose loss was not finite, or -1."""
        steps: list[int] = self.bad_step.tolist()
        return steps

    def run(self) -> int:
        """Takes all steps of the task; returns how many they were."""
        parts = self.parts
        points = parts.spec.curve_points_per_task
        curve_steps = {round(self.total * (k + 1) / (points + 1)) for k in range(points)}
        mid_step = round(self.cutting[0].mid_frac() * self.total) if self.cutting else -1
        parts.lifted.module.train()
        self._make_leaves()
        self.keep = self._keep(after_mid=False)
        # Only a network that is called as it is may draw random numbers of torch's own (dropout).
        with torch.random.fork_rng(devices=[], enabled=not parts.lifted.liftable):
            if not parts.lifted.liftable:
                torch.manual_seed(torch_seed(self.stack.representatives[0].seed, "torch", self.task))
            for epoch in range(self.epochs):
                for at in range(0, self.orders.shape[-1], self.batch_size):
                    if self.step == mid_step:
                        self._mid_task()
                    self._one_step(self.orders[:, epoch, at : at + self.batch_size])
                    if self.step in curve_steps:
                        self.on_curve(self.step)
        if mid_step == self.total:
            self._mid_task()
        return self.total

    def _one_step(self, indices: Tensor) -> None:
        """One mini-batch of every row; `indices` is (rows, batch)."""
        outputs = self.parts.outputs
        logits = self.parts.lifted(self.leaves, self.parts.store[indices])
        log_p = masked_log_softmax(logits, outputs.masks[self.task][outputs.task_of[indices]])
        loss = -log_p.gather(-1, outputs.labels[indices].unsqueeze(-1)).squeeze(-1).mean(-1)
        gradients = torch.autograd.grad(loss.sum(), list(self.leaves.values()))
        by_name = dict(zip(self.leaves, gradients, strict=True))
        self.step += 1
        with torch.no_grad():
            bad = ~torch.isfinite(loss.detach()) & (self.bad_step < 0)
            self.bad_step.masked_fill_(bad, self.step)
            for rows in self._blocks():
                self._update(by_name, rows)

    def _update(self, gradients: dict[str, Tensor], rows: slice) -> None:
        stack, layout = self.stack, self.parts.layout
        theta = stack.theta[rows]
        gradient = layout.flatten({k: g[rows] for k, g in gradients.items()}, out=self.scratch[: len(theta)])
        for ingredient in self.steering:
            own = {k: v[rows] for k, v in stack.states[ingredient.name].items()}
            values = {h.name: stack.values[h.name][rows] for h in ingredient.hypers if not h.structural}
            gradient = stack.over_rows(ingredient.gradient, gradient, theta, own, values)
        optimizers.update(
            self.optimizer,
            theta,
            gradient,
            {k: v[rows] for k, v in self.state.items()},
            stack.rates.rows(rows),
            self.step,
            optimizers.keep_rows(self.keep, rows),
        )

    def _mid_task(self) -> None:
        """Lets the ingredients cut, and clears the optimizer's state of every weight that may no longer move."""
        stack = self.stack
        moved = stack.spread("mid") if self.task == 0 else None
        if moved is not None:
            self.orders, self.present, self.bad_step = self.orders[moved], self.present[moved], self.bad_step[moved]
            self.state = {name: value[moved] for name, value in self.state.items()}
        with torch.no_grad():
            for ingredient in self.cutting:
                stack.theta, stack.states[ingredient.name] = stack.over_rows(
                    lambda t, s, v, i=ingredient: i.mid_task(t, s, v, self.task),
                    stack.theta,
                    stack.states[ingredient.name],
                    stack.values,
                )
            self.keep = self._keep(after_mid=True)
            for value in self.state.values():
                optimizers.hold(value, self.keep)
        self._make_leaves()

    def _keep(self, after_mid: bool) -> optimizers.Keep:
        """What may move: outputs open to some example of this task's batches, less what ingredients freeze."""
        masks = self.parts.outputs.masks[self.task]
        is_open = (self.present[:, :, None] & masks[None]).any(1)
        head = [] if bool(is_open.all()) else self.parts.layout.head_rows(is_open.to(torch.float32))
        if not self.freezing:
            return head
        moves = torch.ones_like(self.stack.theta)
        for ingredient in self.freezing:
            allowed = self.stack.over_rows(
                lambda s, v, i=ingredient: i.trainable(s, v, self.task, after_mid),
                self.stack.states[ingredient.name],
                self.stack.values,
            )
            moves.mul_(allowed)
        return [(slice(None), optimizers.hold(moves, head))]

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
