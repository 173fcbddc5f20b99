"""Experience replay with asymmetric cross-entropy: new examples do not push old classes away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Indices, Ingredient, Memory, Values
from cfsweep.training.ingredients._buffer import mixed_in, reservoir
from cfsweep.training.ingredients.replay import WHY_NOT_TWO


class ErAce(Ingredient):
    """Replay in which a new example competes among the classes of its own task, a replayed one among all seen.

    In class-il alone: in task-il each example competes among its task's classes anyway, and in domain-il all tasks
    have the same outputs, so that the loss would be that of `replay`.

    Departures: the paper adds the two means over as many new as replayed examples; here one mean is taken over a batch
    of which a share ρ is replayed, as in `replay`, so that a run takes the same number of steps whatever ρ. C_curr are
    the classes of the whole task, not those that a batch happens to hold; and the buffer holds finished tasks only, so
    the first task, which has no older classes, is plain training.

    References:
        Caccia et al. 2022 (arXiv 2104.05025), the loss of ER-ACE, L_ce(X_bf, C_old ∪ C_curr) + L_ce(X_in, C_curr).
    """

    name = "er-ace"
    family = "rehearsal"
    summary = "replay in which new examples compete among the new classes only (class-il only)"
    paper = "Caccia et al. 2022, ICLR, arXiv 2104.05025"
    hypers = (
        Hyper(
            "er_ace_ratio",
            "float",
            0.5,
            "share of each mini-batch that is replayed; 0 is off",
            low=0.0,
            high=1.0,
            high_open=True,
            acts="later",
        ),
        Hyper("er_ace_buffer", "int", 500, "examples kept; 0 is off", low=0, acts="later"),
    )
    scenarios = ("class-il",)
    excludes = {"replay": WHY_NOT_TWO}

    def open_outputs(self, masks: Tensor, values: Values, task: int) -> Tensor:
        own = self.context.own_outputs
        current = (torch.arange(len(own), device=own.device) == task).unsqueeze(1)
        on = (values["er_ace_ratio"] > 0) & (values["er_ace_buffer"] > 0)
        return masks & (own | ~(current & on))

    def rehearse(
        self, order: Indices, batch_size: int, memory: Memory, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        return mixed_in(order, batch_size, values["er_ace_ratio"], memory, rng)

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        return reservoir(memory, examples, int(values["er_ace_buffer"]) if values["er_ace_ratio"] > 0 else 0, rng)

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return len(memory.indices) * example_bytes
