"""Experience replay with asymmetric cross-entropy: new examples do not push old classes away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer, Drawn
from cfsweep.training.ingredients._base import Context, Indices, Settings, Values
from cfsweep.training.ingredients._buffer import reservoir
from cfsweep.training.ingredients._pieces import ActiveClasses, Buffered, ReplayLoss


class ErAce(Buffered, ReplayLoss, ActiveClasses):
    """The loss L_ce(X_in, C_curr) + L_ce(X_bf, C_old ∪ C_curr): a new example X_in competes among the classes of its
    own task, one drawn from the buffer among all seen. Each step draws as many examples as a batch holds.

    The buffer of a task in training holds examples of this task too: without them nothing would ever set a new class
    against the old ones, and the latest task would stay unlearned. In class-il alone: in task-il each example competes
    among its task's classes anyway, and in domain-il all tasks have the same outputs.

    Departures: the paper's reservoir fills while a task is trained; here it is, from the task's first step, what it
    will be at its end. C_curr are the classes of the whole task, not those that a batch happens to hold. The first
    task, which has no older classes, is plain training.

    References:
        Caccia et al. 2022 (arXiv 2104.05025), the loss of ER-ACE.
    """

    name = "er-ace"
    summary = "drawn examples compete among all classes, new ones among the new classes only (class-il only)"
    paper = "Caccia et al. 2022, ICLR, arXiv 2104.05025"
    hypers = (Hyper("er_ace_buffer", "int", 500, "examples kept", low=0, off=0, takes_effect="later"),)
    scenarios = ("class-il",)
    needs_classes = True
    holds_current_task = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._own = context.outputs.own

    def active_classes(self, masks: Tensor, values: Values, task: int) -> Tensor:
        current = (torch.arange(len(self._own), device=masks.device) == task).unsqueeze(1)
        return masks & (self._own | ~(current & (values["er_ace_buffer"] > 0)))

    def n_draws(self, batch_size: int) -> int:
        return batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        return self.context.target.losses(drawn.logits, drawn.labels, drawn.mask).mean()

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        return reservoir(buffer, examples, int(values["er_ace_buffer"]), rng)
