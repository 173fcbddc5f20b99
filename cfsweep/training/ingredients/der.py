"""Dark experience replay: drawn examples are held to the logits they once had, and to their labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer, Drawn
from cfsweep.training.ingredients._base import Conventions, Indices, Settings, Values
from cfsweep.training.ingredients._buffer import reservoir
from cfsweep.training.ingredients._pieces import Buffered, ReplayLoss
from cfsweep.training.targets import Target


class DerPlusPlus(Buffered, ReplayLoss):
    """Beside the batch, α·‖z - h(x')‖² on one draw from a reservoir and β·cross-entropy on another; β = 0 is DER.

    Each draw is as large as a batch. z are the logits that the example had when it was stored, h(x') those it has now.
    The square is the mean over outputs, as in the authors' code, not the sum of their eq. 6, so that α does not depend
    on the number of classes.

    Departures: a task enters the reservoir when it ends, and z is of that moment; in the paper examples enter as they
    come, with the logits of that step (`der++-online`). The mean is over the outputs that were active for the example
    when it was stored (task-il: those of its task; class-il: those of the classes seen by then; domain-il: all): one
    that was inactive had never been trained, and to hold an old example to its logit would hold new classes to noise.

    References:
        Buzzega et al. 2020 (NeurIPS; arXiv 2004.07211), eq. 6. Defaults: theirs for split MNIST with 500 examples.
    """

    name = "der++"
    summary = "drawn examples are held to the logits they had when stored, and to their labels"
    paper = "Buzzega et al. 2020, NeurIPS, arXiv 2004.07211"
    hypers = (
        Hyper("der_alpha", "float", 1.0, "weight of the squared error of drawn logits", low=0.0, takes_effect="later"),
        Hyper("der_beta", "float", 0.5, "weight of the loss of drawn examples", low=0.0, takes_effect="later"),
        Hyper("der_buffer", "int", 500, "examples kept with their logits", low=0, off=0, takes_effect="later"),
    )
    stores_logits = True

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions("alpha * squared error of logits, mean over the outputs active when stored")

    def n_draws(self, batch_size: int) -> int:
        return 2 * batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        return dark_replay_loss(drawn, self.context.target, values["der_alpha"], values["der_beta"])

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        on = values["der_alpha"] > 0 or values["der_beta"] > 0
        return reservoir(buffer, examples, int(values["der_buffer"]) if on else 0, rng)


def dark_replay_loss(drawn: Drawn, target: Target, alpha: Tensor, beta: Tensor) -> Tensor:
    """α times the squared error of the first half of what is drawn, and β times the loss of the other half, a scalar.

    References:
        Buzzega et al. 2020, eq. 6.
    """
    half = len(drawn.labels) // 2
    logits, stored = drawn.logits, drawn.stored
    of_labels = target.losses(logits[half:], drawn.labels[half:], drawn.mask[half:]).mean()
    return alpha * squared_error(logits[:half], stored[:half]) + beta * of_labels


def squared_error(logits: Tensor, stored: Tensor) -> Tensor:
    """The mean over examples of the mean over active outputs of (stored - logits)², a scalar; both are (n, n_outputs).

    Inactive outputs are those that `stored` has minus infinity for.

    >>> squared_error(torch.tensor([[1.0, 2.0, 7.0]]), torch.tensor([[1.0, 4.0, -torch.inf]])).item()
    2.0
    """
    active = torch.isfinite(stored)
    apart = torch.where(active, logits - stored.masked_fill(~active, 0.0), 0.0)
    return (apart.square().sum(-1) / active.sum(-1)).mean()
