"""Experience replay: a share of each mini-batch comes from a buffer of old examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Indices, Ingredient, Memory


class Replay(Ingredient):
    """A reservoir over the distinct training examples of finished tasks, and a fixed share ρ of each batch from it.

    The batch size stays what it is, so a run takes the same number of steps whatever ρ: the replayed examples take
    the place of new ones. Draws within a batch are with replacement.

    References:
        Chaudhry et al. 2019 (arXiv 1902.10486), algorithms 1 and 2; Vitter 1985, algorithm R.
    """

    name = "replay"
    family = "rehearsal"
    summary = "a share of each mini-batch comes from a reservoir of old examples"
    paper = "Chaudhry et al. 2019, arXiv 1902.10486"
    hypers = (
        Hyper(
            "replay_ratio",
            "float",
            0.5,
            "share of each mini-batch that is replayed; 0 is off",
            low=0.0,
            high=1.0,
            high_open=True,
            acts="later",
        ),
        Hyper("replay_buffer", "int", 500, "examples kept; 0 is off", low=0, acts="later"),
    )

    def rehearse(
        self, order: Indices, batch_size: int, memory: Memory, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        if not len(memory.indices):
            return order
        place = np.arange(len(order))
        batch = place // batch_size
        size = np.minimum(batch_size, len(order) - batch * batch_size)
        replayed = place % batch_size < np.floor(values["replay_ratio"] * size + 0.5)
        draws = memory.indices[rng.integers(len(memory.indices), size=len(order))]
        return np.where(replayed, draws, order)

    def remember(
        self, memory: Memory, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Memory:
        capacity = int(values["replay_buffer"]) if values["replay_ratio"] > 0 else 0
        kept = np.resize(memory.indices, min(capacity, memory.seen + len(examples))) if capacity else memory.indices
        # Algorithm R: the j-th example ever offered takes slot j while there is room, else a slot drawn from
        # 0..j if that slot exists. All slots are drawn at once; where one is hit twice, the later example stays.
        number = memory.seen + np.arange(len(examples))
        slot = np.where(number < capacity, number, rng.integers(number + 1))
        for position, example in zip(slot[slot < capacity], examples[slot < capacity], strict=True):
            kept[position] = example
        return Memory(kept, memory.seen + len(examples))

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return len(memory.indices) * example_bytes
