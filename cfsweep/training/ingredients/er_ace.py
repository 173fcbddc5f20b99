"""Experience replay with asymmetric cross-entropy: new examples do not push old classes away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Batch, Indices, Ingredient, Memory, State, Values
from cfsweep.training.ingredients._buffer import reservoir
from cfsweep.training.outputs import label_losses


class ErAce(Ingredient):
    """The loss L_ce(X_in, C_curr) + L_ce(X_bf, C_old ∪ C_curr): a new example X_in competes among the classes of its
    own task, one recalled from the buffer among all seen. Each step recalls as many examples as a batch holds.

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
    family = "rehearsal"
    summary = "recalled examples compete among all classes, new ones among the new classes only (class-il only)"
    paper = "Caccia et al. 2022, ICLR, arXiv 2104.05025"
    hypers = (Hyper("er_ace_buffer", "int", 500, "examples kept; 0 is off", low=0, acts="later"),)
    scenarios = ("class-il",)
    recalls_current = True

    def open_outputs(self, masks: Tensor, values: Values, task: int) -> Tensor:
        own = self.context.own_outputs
        current = (torch.arange(len(own), device=own.device) == task).unsqueeze(1)
        return masks & (own | ~(current & (values["er_ace_buffer"] > 0)))

    def recall_size(self, batch_size: int) -> int:
        return batch_size

    def recalled_loss(self, batch: Batch, state: State, values: Values) -> Tensor:
        return label_losses(batch.now.logits, batch.labels, batch.mask).mean()

    def reaches_old(self, values: Values) -> Tensor:
        return values["er_ace_buffer"] > 0

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        return reservoir(memory, examples, int(values["er_ace_buffer"]), rng)

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return len(memory.indices) * example_bytes
