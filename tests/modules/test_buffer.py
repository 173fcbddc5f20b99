"""The buffer holds what a sweep's buffer would, as examples; and gives distinct ones of finished tasks alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.modules import ReservoirBuffer
from cfsweep.testing import make_pack, small_stream
from cfsweep.training.engine.randomness import generator

MODES = ("reservoir", "class-balanced")


@pytest.mark.parametrize("mode", MODES)
def test_it_holds_the_examples_that_a_pack_holds(mode: str) -> None:
    stream = small_stream()
    pack = make_pack(stream, ("replay",), replay_mode=mode)
    buffer = ReservoirBuffer(9, pack.spec.runs[0].seed, mode)
    for task in stream.tasks:
        pack.train_next_task()
        buffer.add_task(stream.x[task.train], stream.y[task.train])
        kept = pack.stack.buffers["replay"][0].indices
        assert torch.equal(buffer.x, stream.x[kept])
        assert torch.equal(buffer.y, stream.y[kept])
        assert buffer.n_bytes == pack.records[0].stored_bytes == 9 * 36 * 4


@pytest.mark.parametrize("size", [1, 7, 20, 33, 1000])
def test_it_is_algorithm_r(size: int) -> None:
    """Vitter 1985, one example at a time: the j-th one, from 0, takes the place of a random one of 0..j."""
    buffer, kept, seen = ReservoirBuffer(size, seed=3), list[int](), 0
    for task, n in enumerate([20, 13, 40, 1]):
        numbers = torch.arange(1000 * task, 1000 * task + n)
        draws = generator(3, "buffer", task).integers(seen + np.arange(n) + 1)
        for j, (number, draw) in enumerate(zip(numbers.tolist(), draws.tolist(), strict=True), start=seen):
            if j < size:
                kept.append(number)
            elif draw < size:
                kept[draw] = number
        seen += n
        buffer.add_task(numbers.double().unsqueeze(1), numbers % 7)
        assert buffer.x.flatten().tolist() == kept
        assert torch.equal(buffer.y, buffer.x.flatten().long() % 7)
        assert len(set(kept)) == len(buffer) == min(size, seen)
        assert buffer.n_bytes == 8 * len(kept)


def test_class_balanced_holds_as_many_of_each() -> None:
    """As far as there are any; classes that come later find their places, also where their numbers are new."""
    buffer = ReservoirBuffer(12, mode="class-balanced")
    for labels, held in (([1] * 50 + [2] * 4, {1: 8, 2: 4}), ([7] * 3 + [0] * 30, {0: 3, 1: 3, 2: 3, 7: 3})):
        buffer.add_task(torch.arange(float(len(labels))), torch.tensor(labels))
        counts = zip(*(part.tolist() for part in buffer.y.unique(return_counts=True)), strict=True)
        assert dict(counts) == held


def test_draws_are_those_of_the_seed_and_go_on_after_loading() -> None:
    x, y = torch.arange(30.0), torch.arange(30)

    def filled(seed: int = 0) -> ReservoirBuffer:
        buffer = ReservoirBuffer(10, seed)
        buffer.add_task(x, y)
        return buffer

    one, other = filled(), filled()
    first, second = one.get_batch(8), one.get_batch(8)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(other.get_batch(8)[0], first[0])
    again = ReservoirBuffer(10)
    again.load_state_dict(other.state_dict())
    assert torch.equal(again.get_batch(8)[0], second[0])
    assert not torch.equal(filled(seed=1).get_batch(8)[0], first[0])
    given = one.get_batch(5, np.random.default_rng(4))[1]
    assert torch.equal(given, one.y[np.random.default_rng(4).integers(10, size=5)])
    for batch_x, batch_y in (first, second, one.get_batch(0), one.get_batch(50)):  # with replacement
        assert torch.equal(batch_x.long(), batch_y)
        assert torch.isin(batch_y, one.y).all()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_kept_later_does_not_depend_on_saving(mode: str) -> None:
    """Also where a class comes again: how many of it were offered decides what it may keep."""
    through, saved = ReservoirBuffer(11, mode=mode), ReservoirBuffer(11, mode=mode)
    for task in range(5):
        x, y = torch.arange(100.0 * task, 100 * task + 25), (torch.arange(25) ** 2 + task) % 3
        through.add_task(x, y)
        saved.add_task(x, y)
        assert torch.equal(saved.x, through.x)
        state, saved = saved.state_dict(), ReservoirBuffer(11, mode=mode)
        saved.load_state_dict(state)


def test_what_is_given_may_change_afterwards() -> None:
    x = torch.arange(4.0)
    buffer = ReservoirBuffer(10)
    buffer.add_task(x, torch.arange(4))
    x.zero_()
    assert buffer.x.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_off() -> None:
    buffer = ReservoirBuffer(0)
    buffer.add_task(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    assert (len(buffer), buffer.n_bytes) == (0, 0)


def test_bad_input() -> None:
    def said(call: object) -> str:
        with pytest.raises(InputError) as error:
            call()  # type: ignore[operator]
        assert "\n" not in str(error.value)
        return str(error.value)

    assert said(lambda: ReservoirBuffer(-1)).startswith("ReservoirBuffer: `size`: `0 <= replay_buffer, a whole number`")
    assert "`replay_mode` must be one of reservoir, class-balanced" in said(lambda: ReservoirBuffer(3, mode="ring"))
    buffer = ReservoirBuffer(3)
    assert "it is empty. Ask `len(buffer)` first" in said(lambda: buffer.get_batch(2))
    assert "labels must be classes from 0 on" in said(lambda: buffer.add_task(torch.zeros(2), torch.tensor([0, -1])))
    buffer.add_task(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    assert "must be like those before, torch.float32 (2,), but got torch.float32 (3,)" in said(
        lambda: buffer.add_task(torch.zeros(1, 3), torch.tensor([0]))
    )
    assert "`0 <= n` must hold, but got n=-1" in said(lambda: buffer.get_batch(-1))
    smaller = ReservoirBuffer(2)
    assert "must be that of a buffer with at most 2 examples" in said(
        lambda: smaller.load_state_dict(buffer.state_dict())
    )
