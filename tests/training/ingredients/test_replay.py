"""The reservoir against Vitter's algorithm R, one example at a time; and what gets into a batch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from cfsweep.testing.packs import finish, make_pack, small_stream
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, Buffer
from cfsweep.training.ingredients.replay import Replay
from cfsweep.training.loop import TaskLoop


@cache
def replay() -> Replay:
    (ingredient,) = make_pack(small_stream(), ("replay",)).context.ingredients
    assert isinstance(ingredient, Replay)
    return ingredient


def algorithm_r(kept: list[int], seen: int, examples: list[int], capacity: int, rng: np.random.Generator) -> list[int]:
    """Vitter 1985: the j-th example (from 0) replaces a random one of 0..j if that is in the reservoir."""
    draws = rng.integers(seen + np.arange(len(examples)) + 1)
    kept = list(kept)
    for j, (example, draw) in enumerate(zip(examples, draws, strict=True), start=seen):
        if j < capacity:
            kept.append(example)
        elif draw < capacity:
            kept[draw] = example
    return kept


@pytest.mark.parametrize("capacity", [0, 1, 7, 20, 33, 1000])
def test_update_buffer_is_algorithm_r(capacity: int) -> None:
    values = {"replay_buffer": capacity, "replay_ratio": 0.5}
    buffer, kept, seen = EMPTY_BUFFER, list[int](), 0
    for task, size in enumerate([20, 13, 40, 1]):
        examples = np.arange(1000 * task, 1000 * task + size)
        old = buffer.indices.copy()
        new = replay().update_buffer(buffer, examples, values, generator(3, "buffer", task))
        kept = algorithm_r(kept, seen, examples.tolist(), capacity, generator(3, "buffer", task))
        assert np.array_equal(buffer.indices, old)
        buffer, seen = new, seen + size
        assert buffer.indices.tolist() == kept
        assert buffer.offered == seen
        assert len(set(kept)) == len(kept) == min(capacity, seen)


def test_every_example_is_as_likely_to_be_kept() -> None:
    """Chi-square over 60 examples of three tasks, capacity 12, 2000 reservoirs; 59 degrees of freedom, fixed seeds."""
    counts, values = np.zeros(60), {"replay_buffer": 12, "replay_ratio": 0.5}
    for seed in range(2000):
        buffer = EMPTY_BUFFER
        for task in range(3):
            examples = np.arange(20 * task, 20 * task + 20)
            buffer = replay_once.update_buffer(buffer, examples, values, generator(seed, "buffer", task))
        counts[buffer.indices] += 1
    expected = 2000 * 12 / 60
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 59 + 4 * np.sqrt(2 * 59)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("n", "batch"), [(22, 5), (20, 5), (7, 64), (23, 1)])
def test_a_fixed_share_of_each_batch_is_replayed(ratio: float, n: int, batch: int) -> None:
    buffer = Buffer(np.arange(100, 110), 10)
    order = generator(0, "order").permutation(n)
    mixed = replay_once.mix_in(order, batch, buffer, {"replay_ratio": ratio}, generator(0, "mix"))
    for at in range(0, n, batch):
        part = mixed[at : at + batch]
        assert (part >= 100).sum() == int(ratio * len(part) + 0.5)
        assert np.isin(part[part < 100], order[at : at + batch]).all()
    assert len(mixed) == n
    assert replay_once.mix_in(order, batch, EMPTY_BUFFER, {"replay_ratio": ratio}, generator(0, "mix")) is order


def test_only_examples_of_finished_tasks_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = small_stream()
    seen: list[tuple[int, np.ndarray]] = []
    original = TaskLoop.run

    def spy(self: TaskLoop, *given: Any) -> None:
        seen.append((self.task, self.orders.numpy().copy()))
        original(self, *given)

    monkeypatch.setattr(TaskLoop, "run", spy)
    pack = make_pack(stream, ("replay",), replay_ratio=0.4)
    finish(pack)
    for task, orders in seen:
        finished = np.concatenate([np.empty(0, int), *(t.train for t in stream.tasks[:task])])
        old = ~np.isin(orders, stream.tasks[task].train)
        assert np.isin(orders[old], finished).all()
        per_epoch = 4 * int(0.4 * 5 + 0.5) + int(0.4 * 2 + 0.5)  # 22 examples: four batches of 5, one of 2
        assert (old.sum(-1) == (per_epoch if task else 0)).all()
    buffer = pack.stack.buffers["replay"][0]
    assert len(buffer.indices) == len(set(buffer.indices)) == 9
    assert buffer.offered == 66
    assert pack.records[0].stored_bytes == 9 * 36 * 4


replay_once = replay()
