"""DER++ with a buffer that fills step by step: a whole run against a plain loop, one example at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, check_ingredient, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import CNN, UNLIFTABLE, assert_same, weights
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, registry
from cfsweep.training.ingredients.der_online import DerPlusPlusOnline
from cfsweep.training.pack import Pack
from cfsweep.training.replay_draws import _plan, in_batches
from cfsweep.training.spec import RunSpec
from tests.training.helpers import early_stopped


@cache
def online(scenario: Scenario = "task-il") -> DerPlusPlusOnline:
    (ingredient,) = make_pack(small_stream(), ("der++-online",), scenario=scenario).context.ingredients
    assert isinstance(ingredient, DerPlusPlusOnline)
    return ingredient


class PlainDerOnline(PlainLoop):
    """Algorithm 2: draw, step, then Vitter's algorithm R for each example of the batch, with the logits of the step."""

    drew_current = 0  # examples of the task in training that were drawn
    drew_in_first = 0

    def start(self) -> None:
        self.held: list[tuple[int, list[int], Tensor]] = []  # (example, active outputs, their logits)
        self.offered = 0

    def planned(self, number: int) -> None:
        """All random numbers of a task: for each of its examples, and for each step's draws."""
        parts, capacity = self.batches_of(number), int(self.values["der_online_buffer"])
        n = sum(map(len, parts))
        rng = generator(self.run.seed, "buffer", number)
        self.slots = rng.integers(self.offered + np.arange(n) + 1).tolist()
        lengths = [min(capacity, self.offered + sum(map(len, parts[:k]))) for k in range(len(parts))]
        highs = np.maximum(1, lengths)[:, None]
        size = (len(parts), 2 * int(self.values["batch_size"]))
        self.drawn = generator(self.run.seed, "draw", number).integers(highs, size=size).tolist()

    def train_task(self, number: int) -> None:
        self.number = number
        self.planned(number)
        super().train_task(number)

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        loss = super().batch_loss(indices, learned) + self.of_drawn(learned)
        for index in indices.tolist():
            active = self.active(int(self.outputs.task_of[index]), learned)
            logits = self.network(self.x[index : index + 1])[0, active].detach()
            self.offer((index, active, logits))
        return loss

    def offer(self, example: tuple[int, list[int], Tensor]) -> None:
        slot, capacity = self.slots.pop(0), int(self.values["der_online_buffer"])
        if len(self.held) < capacity:
            self.held.append(example)
        elif slot < capacity:
            self.held[slot] = example
        self.offered += 1

    def of_drawn(self, learned: int) -> Tensor:
        places = self.drawn.pop(0)
        if not self.held:
            return torch.zeros(())
        drawn = [self.held[place] for place in places]
        current = [index for index, _, _ in drawn if self.outputs.task_of[index] == self.number]
        self.drew_current += len(current)
        self.drew_in_first += len(current) * (self.number == 0)
        half = len(drawn) // 2
        apart = [
            nn.functional.mse_loss(self.network(self.x[index : index + 1])[0, active], logits)
            for index, active, logits in drawn[:half]
        ]
        labelled = super().batch_loss(np.array([index for index, _, _ in drawn[half:]]), learned)
        alpha, beta = float(self.values["der_online_alpha"]), float(self.values["der_online_beta"])
        return alpha * torch.stack(apart).mean() + beta * labelled


SGD: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "der_online_alpha": 0.7, "der_online_beta": 0.4}


def assert_same_buffer(pack: Pack, plain: PlainDerOnline) -> None:
    buffer = pack.stack.buffers["der++-online"][0]
    assert buffer.indices.tolist() == [index for index, _, _ in plain.held]
    assert buffer.offered == plain.offered
    assert buffer.logits is not None
    for logits, (_, active, stored) in zip(buffer.logits, plain.held, strict=True):
        assert np.flatnonzero(np.isfinite(logits)).tolist() == sorted(active)
        np.testing.assert_allclose(logits[active], stored.numpy(), atol=2e-5)


SIZES = [(0, 9), (1, 30), (2, 1000)]  # of buffers, by seed


def in_turns() -> list[object]:
    """Each scenario with each size; with every change one of three, in turns."""
    pairs = itertools.product(enumerate(SCENARIOS), enumerate(SIZES))
    return [
        pytest.param(scenario, *size, marks=() if number == place else pytest.mark.slow)
        for (number, scenario), (place, size) in pairs
    ]


@pytest.mark.parametrize(("scenario", "seed", "size"), in_turns())
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, size: int) -> None:
    """Buffers that are full in the first epoch, in the second one, and never, though examples come three times."""
    run = RunSpec(0, seed, values_of(("der++-online",), **SGD, der_online_buffer=size))
    stream = small_stream(seed=seed)
    pack, plain = twins_agree(("der++-online",), PlainDerOnline, stream, run, scenario, atol=1e-5)
    assert isinstance(plain, PlainDerOnline)
    assert plain.drew_current > plain.drew_in_first > 0
    assert_same_buffer(pack, plain)
    held = min(size, 3 * 66)
    assert pack.stack.buffers["der++-online"][0].offered == 3 * 66
    assert pack.records[0].stored_bytes == held * 4 * (36 + pack.context.outputs.n_outputs)
    assert sum(n for _, after, _, _, n in pack.records[0].buffers if after == 2) == held


def test_a_convolution_and_adam_go_the_same_way() -> None:
    run = RunSpec(0, 0, values_of(("der++-online",), epochs=2, lr=3e-3))
    twins_agree(("der++-online",), PlainDerOnline, small_stream(), run, "class-il", CNN, atol=1e-4)


# ------------------------------------------------------------------------------------------------ who takes which slot


def test_the_slots_of_a_task_by_hand() -> None:
    """A buffer of 3 that was offered 2; epochs of 3 in batches of 2. Examples 2, 3, 4 ... draw from 0..j."""
    (ingredient,) = make_pack(small_stream(), ("der++-online",), der_online_buffer=3).context.ingredients
    assert isinstance(ingredient, DerPlusPlusOnline)
    run = RunSpec(0, 4, values_of(("der++-online",), der_online_buffer=3))
    before = replace(EMPTY_BUFFER, indices=np.array([7, 8]), offered=2)
    new = in_batches(np.ones((2, 3), bool), 2)
    slots, offered, held = _plan(ingredient, run, before, 1, new)
    drawn = generator(4, "buffer", 1).integers(np.arange(2, 8) + 1).tolist()
    expected = [2, *(slot if slot < 3 else -1 for slot in drawn[1:])]
    rows = [expected[:2], [expected[2], -1], expected[3:5], [expected[5], -1]]
    assert slots.tolist() == [[-1 if a == b else a, b] for a, b in rows]
    assert offered.tolist() == [2, 4, 5, 7, 8]
    assert held.tolist() == [2, 3, 3, 3, 3]


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_is_what_writing_one_example_after_the_other_gives(seed: int) -> None:
    """Small buffers, where a step takes a slot twice; some of the examples are not new."""
    rng, ingredient = np.random.default_rng(seed), online()
    new = in_batches(rng.random((3, 13)) < 0.8, 5)
    run = RunSpec(0, seed, values_of(("der++-online",), der_online_buffer=4))
    slots, offered, held = _plan(ingredient, run, EMPTY_BUFFER, 0, new)
    examples = np.arange(new.size).reshape(new.shape)
    slow: list[int] = []
    draws = generator(seed, "buffer", 0).integers(np.arange(int(new.sum())) + 1).tolist()
    fast, count = np.full(4, -1), 0
    for step, (comes, own) in enumerate(zip(examples, new, strict=True)):
        assert held[step] == len(slow)
        assert offered[step] == count
        for example in comes[own].tolist():
            slot = draws.pop(0)
            if len(slow) < 4:
                slow.append(example)
            elif slot < 4:
                slow[slot] = example
            count += 1
        kept = slots[step][slots[step] >= 0]
        assert len(set(kept.tolist())) == len(kept)
        fast[kept] = comes[slots[step] >= 0]
        assert fast[: len(slow)].tolist() == slow
    assert held[-1] == len(slow)
    assert offered[-1] == count


def test_what_others_mix_into_a_batch_is_not_offered() -> None:
    names = ("replay", "der++-online")
    pack = make_pack(small_stream(), names, replay_ratio=0.4, der_online_buffer=1000)
    pack.train_next_task()
    assert pack.stack.buffers["der++-online"][0].offered == 66
    pack.train_next_task()
    buffer = pack.stack.buffers["der++-online"][0]
    per_epoch = 4 * 3 + 1  # of four batches of 5 and one of 2 examples 0.4 are replayed: 2 and 1
    assert buffer.offered == len(buffer.indices) == 66 + 3 * per_epoch
    assert set(buffer.indices[66:]) <= set(pack.stream.tasks[1].train)


# ------------------------------------------------------------------------------------------------ beside others


class PlainStopped(PlainDerOnline):
    """Early stopping: the batches after it are never seen."""

    def train_task(self, number: int) -> None:
        self.number = number
        self.planned(number)
        self.taken, _ = early_stopped(self, number, int(self.values["patience"]))


def test_a_task_that_is_ended_early_offers_no_more() -> None:
    names = ("der++-online", "early-stopping")
    for seed in range(3):
        run = RunSpec(0, seed, values_of(names, **SGD, der_online_buffer=30, patience=1, epochs=6))
        pack, plain = twins_agree(names, PlainStopped, small_stream(seed=seed), run, "class-il", atol=1e-5)
        assert isinstance(plain, PlainStopped)
        assert_same_buffer(pack, plain)
    assert plain.offered < 6 * 66


def test_runs_that_stop_at_other_steps_keep_their_own_buffers() -> None:
    names = ("der++-online", "early-stopping")
    chosen = [(9, 1), (4, 2), (9, 0), (0, 1), (30, 1)]
    runs = tuple(
        RunSpec(k, k % 2, values_of(names, epochs=6, der_online_buffer=size, patience=patience))
        for k, (size, patience) in enumerate(chosen)
    )
    together = finish(make_pack(small_stream(), names, runs, "class-il"))
    buffers = [together.stack.buffers["der++-online"][row] for row in together.stack.row_of]
    assert len({buffer.offered for buffer in buffers}) > 2
    for run, buffer in zip(runs, buffers, strict=True):
        alone = finish(make_pack(small_stream(), names, (run,), "class-il")).stack.buffers["der++-online"][0]
        assert alone.indices.tolist() == buffer.indices.tolist()
        if len(alone.indices):
            assert alone.logits is not None
            assert buffer.logits is not None
            np.testing.assert_allclose(alone.logits, buffer.logits, rtol=1e-3, atol=1e-4)


def test_rows_that_part_at_a_cut_go_on_with_what_they_have_stored() -> None:
    """PackNet's rates part the rows within the first task; the buffer of each run is that which it has alone."""
    names = ("der++-online", "packnet")
    runs = tuple(RunSpec(k, 0, values_of(names, packnet_rate=rate)) for k, rate in enumerate((0.3, 0.6)))
    pack = make_pack(small_stream(), names, runs)
    pack.train_next_task()
    assert len(pack.stack) == 2
    first, second = (pack.stack.buffers["der++-online"][row] for row in pack.stack.row_of)
    assert first.indices.tolist() == second.indices.tolist()
    assert not np.array_equal(first.logits, second.logits)  # type: ignore[arg-type]
    finish(pack)
    for run, theta in zip(runs, weights(pack), strict=True):
        alone = finish(make_pack(small_stream(), names, (run,)))
        torch.testing.assert_close(weights(alone)[0], theta, rtol=1e-3, atol=1e-4)


def test_a_network_sees_nothing_before_something_is_drawn() -> None:
    """One step a task, and batch statistics: the first task's are those of plain training."""
    given: dict[str, Any] = {"network": UNLIFTABLE, "epochs": 1, "batch_size": 22}
    naive = make_pack(small_stream(), **given)
    pack = make_pack(small_stream(), ("der++-online",), **given)
    for each in (naive, pack):
        each.train_next_task()
    assert torch.equal(weights(pack), weights(naive))
    assert all(map(torch.equal, pack.context.statistics().values(), naive.context.statistics().values()))
    assert len(pack.stack.buffers["der++-online"][0].indices) == 9
    for each in (naive, pack):
        each.train_next_task()
    assert not torch.equal(weights(pack), weights(naive))


# ------------------------------------------------------------------------------------------------ its values


def test_it_conforms_with_a_buffer_that_is_full() -> None:
    """Beside `test_conformance.py`, where the default holds all that ever comes."""
    check_ingredient("der++-online", der_online_buffer=12)


def test_without_weights_it_is_plain_training_and_with_one_of_them_it_is_not() -> None:
    def finished(**given: Value) -> Pack:
        return finish(make_pack(small_stream(), ("der++-online",), weight_decay=0.01, **given))

    naive = finish(make_pack(small_stream(), weight_decay=0.01))
    assert_same(finished(der_online_alpha=0.0, der_online_beta=0.0), naive)
    for one in ({"der_online_alpha": 0.0}, {"der_online_beta": 0.0}):
        assert not torch.equal(finished(**one).stack.theta, naive.stack.theta)


@pytest.mark.parametrize("name", ["der_online_alpha", "der_online_beta", "der_online_buffer"])
def test_its_values_act_from_the_start_and_are_not_negative(name: str) -> None:
    hyper = next(hyper for hyper in registry["der++-online"].hypers if hyper.name == name)
    assert hyper.takes_effect == "start"
    with pytest.raises(InputError, match=f"`0 <= {name}.* must hold, but got {name}=-1"):
        hyper.check(-1, "space.yaml")
