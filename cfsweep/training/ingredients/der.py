"""Dark experience replay: recalled examples are held to the logits they once had, and to their labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Batch, Indices, Ingredient, Memory, Values
from cfsweep.training.ingredients._buffer import reservoir
from cfsweep.training.outputs import label_losses


class DerPlusPlus(Ingredient):
    """Beside the batch, α·‖z - h(x')‖² on one draw from a reservoir and β·cross-entropy on another; β = 0 is DER.

    Each draw is as large as a batch. z are the logits that the example had when it was stored, h(x') those it has now.
    The square is the mean over outputs, as in the authors' code, not the sum of their eq. 6, so that α does not depend
    on the number of classes.

    Departures: a task enters the reservoir when it ends, and z is of that moment; in the paper examples enter as they
    come, with the logits of that step. The mean is over the outputs that were open to the example when it was stored
    (task-il: those of its task; class-il: those of the classes seen by then; domain-il: all): an output that was closed
    had never been trained, and to hold an old example to its logit would hold new classes to noise.

    References:
        Buzzega et al. 2020 (NeurIPS; arXiv 2004.07211), eq. 6. Defaults: theirs for split MNIST with 500 examples.
    """

    name = "der++"
    family = "rehearsal"
    summary = "recalled examples are held to the logits they had when stored, and to their labels"
    paper = "Buzzega et al. 2020, NeurIPS, arXiv 2004.07211"
    hypers = (
        Hyper("der_alpha", "float", 1.0, "weight of the squared error of recalled logits", low=0.0, acts="later"),
        Hyper("der_beta", "float", 0.5, "weight of the cross-entropy of recalled examples", low=0.0, acts="later"),
        Hyper("der_buffer", "int", 500, "examples kept with their logits; 0 is off", low=0, acts="later"),
    )
    keeps_logits = True
    penalty_convention = "alpha * squared error of logits, mean over the outputs open when stored"

    def recall_size(self, batch_size: int) -> int:
        return 2 * batch_size

    def recalled_loss(self, batch: Batch, state: Mapping[str, Tensor], values: Values) -> Tensor:
        half = len(batch.labels) // 2
        logits, kept = batch.now.logits, batch.before.logits
        cross_entropy = label_losses(logits[half:], batch.labels[half:], batch.mask[half:]).mean()
        return values["der_alpha"] * squared_error(logits[:half], kept[:half]) + values["der_beta"] * cross_entropy

    def reaches_old(self, values: Values) -> Tensor:
        return (values["der_alpha"] > 0) | (values["der_beta"] > 0)

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        on = values["der_alpha"] > 0 or values["der_beta"] > 0
        return reservoir(memory, examples, int(values["der_buffer"]) if on else 0, rng)

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return len(memory.indices) * (example_bytes + 4 * self.context.masks.shape[-1])


def squared_error(logits: Tensor, kept: Tensor) -> Tensor:
    """The mean over examples of the mean over open outputs of (kept - logits)², a scalar; both are (n, n_outputs).

    Closed outputs are those that `kept` has minus infinity for.

    >>> squared_error(torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[1.0, 4.0, -torch.inf]])).item()
    2.0
    """
    is_open = torch.isfinite(kept)
    apart = torch.where(is_open, logits - kept.masked_fill(~is_open, 0.0), 0.0)
    return (apart.square().sum(-1) / is_open.sum(-1)).mean()
