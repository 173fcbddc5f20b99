"""Experience replay: a share of each mini-batch comes from a buffer of old examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer
from cfsweep.training.ingredients._base import Context, Indices, Settings
from cfsweep.training.ingredients._buffer import class_balanced, mixed_in, reservoir
from cfsweep.training.ingredients._pieces import MixedReplay


class Replay(MixedReplay):
    """A buffer of distinct training examples of finished tasks, and a fixed share ρ of each batch from it.

    The batch size stays what it is, so a run takes the same number of steps whatever ρ: the replayed examples take
    the place of new ones. Draws within a batch are with replacement.

    `reservoir` keeps a uniform sample of all examples so far; where a class is rare, it is rare in the buffer too.
    `class-balanced` keeps equal shares of all classes seen. It is class-balancing reservoir sampling rather than the
    greedy balancing sampler of Prabhu et al. 2020 (GDumb): that one fills a class's share with whatever comes first and
    then takes no more of it, this one keeps a uniform sample of each class.

    References:
        Chaudhry et al. 2019 (arXiv 1902.10486), algorithms 1 and 2; Vitter 1985, algorithm R (`reservoir`);
        Chrysakis & Moens 2020, algorithm 1 (`class-balanced`).
    """

    name = "replay"
    summary = "a share of each mini-batch comes from a buffer of old examples"
    paper = "Chaudhry et al. 2019, arXiv 1902.10486"
    hypers = (
        Hyper(
            "replay_ratio",
            "float",
            0.5,
            "share of each mini-batch that is replayed",
            low=0.0,
            high=1.0,
            high_open=True,
            off=0.0,
            takes_effect="later",
        ),
        Hyper("replay_buffer", "int", 500, "examples kept", low=0, off=0, takes_effect="later"),
        Hyper(
            "replay_mode",
            "choice",
            "reservoir",
            "which examples are kept: a uniform sample of all so far, or equal shares of the classes",
            choices=("reservoir", "class-balanced"),
            static=True,
        ),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._balanced = settings["replay_mode"] == "class-balanced"

    def mix_in(
        self, order: Indices, batch_size: int, buffer: Buffer, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        return mixed_in(order, batch_size, values["replay_ratio"], buffer, rng)

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        capacity = int(values["replay_buffer"]) if values["replay_ratio"] > 0 else 0
        if self._balanced:
            return class_balanced(buffer, examples, self.context.classes, capacity, rng)
        return reservoir(buffer, examples, capacity, rng)
