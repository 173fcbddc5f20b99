"""What an optimizer remembers of the steps so far, within a task and, where it is kept, from task to task."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.training import optimizers
from cfsweep.training.ingredients import State
from cfsweep.training.stack import Stack


class Moments:
    """The state (rows, P) of `optimizer` while one task is trained: fresh, or what `stack` has kept from earlier tasks.

    As with torch's own over masked logits, the moments of an output that is closed until a later task are zero until
    then. `steps_before` counts the steps of earlier tasks, if the state is kept.
    """

    def __init__(self, optimizer: str, kept: bool, stack: Stack) -> None:
        self.kept = kept
        self.state: State = stack.optimizer or {
            name: torch.zeros_like(stack.theta) for name in optimizers.STATE_NAMES[optimizer]
        }
        self.steps_before = stack.optimizer_steps
        self.aside = {name: torch.zeros_like(value) for name, value in self.state.items() if kept}

    def rows(self, rows: slice) -> State:
        """Views of the state of some rows, for the optimizer to update."""
        return {name: value[rows] for name, value in self.state.items()}

    def regroup(self, index: Tensor) -> None:
        """Follows the stack, whose new rows are copies of its old rows `index`."""
        self.state = {name: value[index] for name, value in self.state.items()}
        self.aside = {name: value[index] for name, value in self.aside.items()}

    def hold(self, keep: optimizers.Keep, finished: Tensor, step: int) -> None:
        """After `step` steps of the task, clears the state of every weight that may no longer move in it, and that of
        the rows (rows,) bool that have finished it. If the state is to be kept, this part is set aside, as an estimate
        without bias: Adam would step far too wide from moments that are zero after many steps."""
        for name, value in self.state.items():
            whole = value.clone() if self.kept else value
            optimizers.hold(value.masked_fill_(finished.unsqueeze(1), 0.0), keep)
            if self.kept:
                n_steps = max(1, self.steps_before + step)
                self.aside[name] += torch.where(value == whole, 0.0, whole) / optimizers.fullness(name, n_steps)

    def hand_on(self, stack: Stack, n_steps: int) -> None:
        """Leaves the state to the next task, after the `n_steps` steps of this one, if it is to be kept.

        All steps count, also those that nobody took any more: how many they were depends on the neighbours.
        """
        if self.kept:
            stack.optimizer_steps = n = self.steps_before + n_steps
            stack.optimizer = {k: v + self.aside[k] * optimizers.fullness(k, n) for k, v in self.state.items()}
