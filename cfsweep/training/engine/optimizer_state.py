"""What an optimizer keeps of the steps so far, within a task and, where it is kept, from task to task."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.training.engine import optimizers

ByName = dict[str, Tensor]


class OptimizerState:
    """The state (rows, P) of `optimizer` while one task is trained: fresh, or (`kept`) what earlier tasks left, after
    `steps_before` steps.

    As with torch's own over masked logits, the state of an output that is inactive until a later task is zero until
    then.
    """

    def __init__(self, optimizer: str, kept: bool, theta: Tensor, earlier: ByName, steps_before: int) -> None:
        self.kept, self.steps_before = kept, steps_before
        self.state = earlier or {name: torch.zeros_like(theta) for name in optimizers.STATE_NAMES[optimizer]}
        self.aside = {name: torch.zeros_like(value) for name, value in self.state.items() if kept}

    def rows(self, rows: slice) -> ByName:
        """Views of the state of some rows, for the optimizer to update."""
        return {name: value[rows] for name, value in self.state.items()}

    def regroup(self, index: Tensor) -> None:
        """Follows the stack, whose new rows are copies of its old rows `index`."""
        self.state = {name: value[index] for name, value in self.state.items()}
        self.aside = {name: value[index] for name, value in self.aside.items()}

    def hold(self, keep: optimizers.UpdateMask, finished: Tensor, step: int) -> None:
        """After `step` steps of the task, clears the state of every weight that may no longer move in it, and that of
        the rows (rows,) bool that have finished it. If the state is to be kept, this part is set aside, as an estimate
        without bias: Adam would step far too wide from moments that are zero after many steps."""
        for name, value in self.state.items():
            whole = value.clone() if self.kept else value
            optimizers.apply_mask(value.masked_fill_(finished.unsqueeze(1), 0.0), keep)
            if self.kept:
                n_steps = max(1, self.steps_before + step)
                self.aside[name] += torch.where(value == whole, 0.0, whole) / optimizers.bias_correction(name, n_steps)

    def after(self, n_steps: int) -> tuple[ByName, int]:
        """The state for the next task after the `n_steps` steps of this one, and after how many steps in all that is;
        nothing, after none, unless it is kept.

        All steps count, also those that nobody took any more: how many they were depends on the neighbours.
        """
        if not self.kept:
            return {}, 0
        n = self.steps_before + n_steps
        return {k: v + self.aside[k] * optimizers.bias_correction(k, n) for k, v in self.state.items()}, n
