"""The class-balanced buffer against algorithm 1 of Chrysakis & Moens, and what it promises at every moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cfsweep.testing.packs import finish, make_pack, small_stream
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, Buffer
from cfsweep.training.ingredients._buffer import class_balanced, mixed_in, reservoir


def algorithm_1(stream: list[int], classes: list[int], capacity: int, draws: list[float]) -> list[int]:
    """Chrysakis & Moens 2020, with the set of full classes written out; `draws` decide as in the fast version."""
    buffer: list[int] = []
    full: set[int] = set()
    offered: Counter[int] = Counter()
    for example, u in zip(stream, draws, strict=True):
        own = classes[example]
        offered[own] += 1
        if len(buffer) < capacity:
            buffer.append(example)
        else:
            held = Counter(classes[e] for e in buffer)
            largest = [c for c in held if held[c] == max(held.values())]
            full |= set(largest)
            if own not in full:
                slots = [k for k, e in enumerate(buffer) if classes[e] in largest]
                buffer[slots[int(u * len(slots))]] = example
            elif u < held[own] / offered[own]:
                slots = [k for k, e in enumerate(buffer) if classes[e] == own]
                buffer[slots[int(u * offered[own])]] = example
    return buffer


def random_tasks(seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Tasks of random sizes, some classes rare, some in several tasks; and the class of each example."""
    rng = np.random.default_rng(seed)
    classes = np.concatenate(
        [rng.choice(9, size=rng.integers(1, 60), p=rng.dirichlet(np.full(9, 0.3))) for _ in range(5)]
    )
    cuts = np.sort(rng.integers(0, len(classes), size=4))
    return np.split(np.arange(len(classes)), cuts), classes


@pytest.mark.parametrize("seed", range(12))
def test_it_is_algorithm_1(seed: int) -> None:
    tasks, classes = random_tasks(seed)
    for capacity in (1, 2, 7, 20, 1000):
        buffer, draws = EMPTY_BUFFER, list[float]()
        for number, examples in enumerate(tasks):
            old = buffer.indices.copy()
            new = class_balanced(buffer, examples, classes, capacity, generator(seed, "buffer", number))
            assert np.array_equal(buffer.indices, old)
            buffer = new
            draws += generator(seed, "buffer", number).random(len(examples)).tolist()
        stream = np.concatenate(tasks).tolist()
        assert buffer.indices.tolist() == algorithm_1(stream, classes.tolist(), capacity, draws)
        assert buffer.offered == len(stream)
        assert buffer.offered_by_class is not None
        assert buffer.offered_by_class.tolist() == np.bincount(classes).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_every_class_has_an_equal_share_as_far_as_its_examples_allow(seed: int) -> None:
    """At every moment: the buffer is as full as it can be, and no class that lost an example is two behind another."""
    _, classes = random_tasks(seed)
    capacity, buffer, rng = 13, EMPTY_BUFFER, np.random.default_rng(seed)
    for example in rng.permutation(len(classes)):
        buffer = class_balanced(buffer, np.array([example]), classes, capacity, rng)
        held = np.bincount(classes[buffer.indices], minlength=9)
        assert buffer.offered_by_class is not None
        assert held.sum() == len(set(buffer.indices.tolist())) == min(capacity, buffer.offered)
        assert ((held == buffer.offered_by_class) | ((held >= held.max() - 1) & (buffer.offered > capacity))).all()


def test_equal_shares_by_hand() -> None:
    """10 places; 8 of class 0, then 100 of class 1, then 2 of class 2: 4, 4 and all 2."""
    classes = np.repeat([0, 1, 2], [8, 100, 2])
    buffer = EMPTY_BUFFER
    for at, shares in ((np.arange(8), [8, 0, 0]), (np.arange(8, 108), [5, 5, 0]), (np.arange(108, 110), [4, 4, 2])):
        buffer = class_balanced(buffer, at, classes, 10, generator(0, "buffer"))
        assert np.bincount(classes[buffer.indices], minlength=3).tolist() == shares


def test_within_a_class_every_example_is_as_likely_to_be_kept() -> None:
    """Chi-square over the 40 examples of a class that comes in two tasks, before and after a rare one; fixed seeds."""
    classes = np.repeat([0, 1, 0], [25, 5, 15])
    counts = np.zeros(45)
    for seed in range(2000):
        buffer = EMPTY_BUFFER
        for task, examples in enumerate(np.split(np.arange(45), [25, 30])):
            buffer = class_balanced(buffer, examples, classes, 12, generator(seed, "buffer", task))
        counts[buffer.indices] += 1
    assert (counts[25:30] == 2000).all()  # the rare class is kept whole
    common = counts[classes == 0]
    assert common.sum() == 2000 * 7
    chi_square = float(((common - common.mean()) ** 2 / common.mean()).sum())
    assert chi_square < 39 + 4 * np.sqrt(2 * 39)


@pytest.mark.parametrize("keep", ["reservoir", "class-balanced"])
def test_a_buffer_of_nothing_keeps_nothing(keep: str) -> None:
    examples, classes, rng = np.arange(5), np.zeros(5, np.int64), generator(0, "buffer")
    if keep == "reservoir":
        buffer = reservoir(EMPTY_BUFFER, examples, 0, rng)
    else:
        buffer = class_balanced(EMPTY_BUFFER, examples, classes, 0, rng)
    assert len(buffer.indices) == 0
    assert buffer.offered == 5
    assert mixed_in(examples, 2, 0.5, buffer, rng) is examples


def test_replay_keeps_equal_shares_where_a_reservoir_does_not() -> None:
    """Of 22 examples per task 11 are of each class; thinned, class 0 is rare."""
    stream = small_stream()
    rare = [index for index in stream.tasks[0].train if stream.y[index] == 0][3:]
    first = replace(stream.tasks[0], train=np.setdiff1d(stream.tasks[0].train, rare))
    stream = replace(stream, tasks=(first, *stream.tasks[1:]))
    shares = {}
    for mode in ("reservoir", "class-balanced"):
        pack = finish(make_pack(stream, ("replay",), replay_mode=mode, replay_buffer=18))
        buffer: Buffer = pack.stack.buffers["replay"][0]
        shares[mode] = np.bincount(stream.y.numpy()[buffer.indices], minlength=6)
        rows = [row for row in pack.records[0].buffers if row[1] == 2]
        assert rows == [("replay", 2, c // 2, c, n) for c, n in enumerate(shares[mode].tolist()) if n]
    assert shares["class-balanced"].tolist() == [3, 3, 3, 3, 3, 3]
    assert shares["reservoir"].tolist() != shares["class-balanced"].tolist()
