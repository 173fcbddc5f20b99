"""Averaged gradient episodic memory: no step that would raise the loss on old examples, to first order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer, Drawn
from cfsweep.training.ingredients._base import Indices, Values
from cfsweep.training.ingredients._buffer import reservoir
from cfsweep.training.ingredients._pieces import Buffered, Projection


class AGem(Buffered, Projection):
    """If the step's gradient g points against r, that of the loss on drawn examples, it loses its part along r.

    g̃ = g - (g·r)/(r·r) r where g·r < 0, else g. Each step draws as many examples as a batch holds.

    Departures: the paper keeps a fixed number of random examples per task; here a task enters a reservoir over all
    examples so far when it ends, so that the buffer has one size whatever the number of tasks (`a-gem-online` has the
    paper's). The rule is for plain gradient steps: with momentum or Adam what is projected is what the optimizer is
    given, not the step it makes of it.

    References:
        Chaudhry et al. 2019 (ICLR; arXiv 1812.00420), eq. 10 (the constraint) and 11 (its solution).
    """

    name = "a-gem"
    summary = "a gradient that would raise the loss on drawn examples loses its part along theirs"
    paper = "Chaudhry et al. 2019, ICLR, arXiv 1812.00420"
    hypers = (Hyper("a_gem_buffer", "int", 500, "examples kept", low=0, off=0, takes_effect="later"),)

    def n_draws(self, batch_size: int) -> int:
        return batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        return self.context.target.losses(drawn.logits, drawn.labels, drawn.mask).mean()

    def project(self, gradient: Tensor, reference: Tensor, values: Values) -> Tensor:
        along, size = (gradient * reference).sum(), reference.square().sum()
        against = (along < 0) & (size > 0)
        return torch.where(against, gradient - along / torch.where(against, size, 1.0) * reference, gradient)

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        return reservoir(buffer, examples, int(values["a_gem_buffer"]), rng)
