"""Dark experience replay as it was published: the reservoir fills while a task is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Drawn
from cfsweep.training.ingredients._base import Conventions, Indices, Settings, Values
from cfsweep.training.ingredients._buffer import reservoir_slots
from cfsweep.training.ingredients._pieces import BufferedOnline, ReplayLoss
from cfsweep.training.ingredients.der import DerPlusPlus, dark_replay_loss


class DerPlusPlusOnline(BufferedOnline, ReplayLoss):
    """The loss of `der++` on draws from a reservoir that each batch is offered right after its step, with the logits z
    of that step, in all epochs; so drawn examples may be of the task in training, from the second step of the first
    task on. β = 0 is DER.

    An example counts anew in each epoch, as in the authors' code, and may be held twice, with logits of two steps. What
    another ingredient mixes into a batch is not offered. With all this the first task depends on α, β and the buffer,
    and runs that differ in them cannot share it as those of `der++` do.

    Departures: those of `der++` but the first one. Both draws are with replacement, where the code draws distinct
    examples, fewer than a batch while the reservoir holds fewer.

    References:
        Buzzega et al. 2020 (NeurIPS; arXiv 2004.07211), algorithm 2 and eq. 6; Vitter 1985, algorithm R. Defaults: as
        for `der++`.
    """

    name = "der++-online"
    summary = "as der++, with a buffer that fills step by step, also from the first task's second step on"
    paper = "Buzzega et al. 2020, NeurIPS, arXiv 2004.07211"
    hypers = (
        Hyper("der_online_alpha", "float", 1.0, "weight of the squared error of drawn logits", low=0.0),
        Hyper("der_online_beta", "float", 0.5, "weight of the loss of drawn examples", low=0.0),
        Hyper("der_online_buffer", "int", 500, "examples kept with their logits", low=0, off=0),
    )

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return DerPlusPlus.conventions(settings)

    def n_draws(self, batch_size: int) -> int:
        return 2 * batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        alpha, beta = values["der_online_alpha"], values["der_online_beta"]
        return dark_replay_loss(drawn, self.context.target, alpha, beta)

    def slots(self, offered: int, n: int, values: Mapping[str, float], rng: np.random.Generator) -> Indices:
        on = values["der_online_alpha"] > 0 or values["der_online_beta"] > 0
        return reservoir_slots(offered, n, int(values["der_online_buffer"]) if on else 0, rng)
