"""GDumb: its sampler against algorithm 1, what fills its batches, and a whole run against a plain loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, check_ingredient, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import weights
from cfsweep.training.batches import shuffled
from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import EMPTY_BUFFER, Buffer, registry
from cfsweep.training.ingredients._buffer import greedily_balanced, passes
from cfsweep.training.ingredients.gdumb import GDumb
from cfsweep.training.spec import RunSpec
from tests.training.ingredients.test_buffer import random_tasks


class Sampler:
    """Prabhu et al. 2020, algorithm 1, word for word: D, Y and C; `draws` decide as in the fast version."""

    def __init__(self, capacity: int) -> None:
        self.k, self.memory, self.seen, self.count = capacity, list[int](), set[int](), Counter[int]()

    def sample(self, x: int, y: int, draw: float) -> None:
        if y not in self.seen or self.count[y] < self.k / len(self.seen):
            if sum(self.count.values()) >= self.k:
                most = max(self.count.values())
                largest = min(label for label in self.count if self.count[label] == most)
                slots = [k for k, (_, label) in enumerate(self.labelled) if label == largest]
                self.labelled[slots[int(draw * len(slots))]] = (x, y)
                self.count[largest] -= 1
            else:
                self.labelled.append((x, y))
            self.seen.add(y)
            self.count[y] += 1

    @property
    def held(self) -> list[int]:
        return [x for x, _ in self.labelled]

    labelled: list[tuple[int, int]]


def sampler(capacity: int) -> Sampler:
    made = Sampler(capacity)
    made.labelled = []
    return made


@pytest.mark.parametrize("seed", range(12))
def test_the_sampler_is_algorithm_1(seed: int) -> None:
    tasks, classes = random_tasks(seed)
    for capacity in (1, 2, 7, 20, 1000):
        slow, buffer = sampler(capacity), EMPTY_BUFFER
        for number, examples in enumerate(tasks):
            come, old = generator(seed, "order", number).permutation(examples), buffer.indices.copy()
            new = greedily_balanced(buffer, come, classes, capacity, generator(seed, "buffer", number))
            assert np.array_equal(buffer.indices, old)
            draws = generator(seed, "buffer", number).random(len(come))
            for example, draw in zip(come.tolist(), draws.tolist(), strict=True):
                slow.sample(example, int(classes[example]), draw)
            buffer = new
            assert buffer.indices.tolist() == slow.held
        assert buffer.offered == len(classes)


def test_equal_shares_by_hand() -> None:
    """10 places; 8 of class 0 fill them as far as they go, 100 of class 1 take the rest and then up to half, and of 50
    of class 2 three or four get in: its share is a third of 10, and it may go above by one."""
    classes = np.repeat([0, 1, 2], [8, 100, 50])
    buffer = EMPTY_BUFFER
    for at, shares in ((np.arange(8), [8, 0, 0]), (np.arange(8, 108), [5, 5, 0])):
        buffer = greedily_balanced(buffer, at, classes, 10, generator(0, "buffer"))
        assert np.bincount(classes[buffer.indices], minlength=3).tolist() == shares
    assert set(buffer.indices[8:]) == {8, 9}, "what comes first"
    buffer = greedily_balanced(buffer, np.arange(108, 158), classes, 10, generator(0, "buffer"))
    assert sorted(np.bincount(classes[buffer.indices], minlength=3)) == [3, 3, 4]


@pytest.mark.parametrize("seed", range(8))
def test_classes_that_come_often_enough_are_balanced(seed: int) -> None:
    """Whatever the order of tasks: with 40 of each of 5 classes, no class ends two behind another."""
    classes = np.repeat(np.arange(5), 40)
    for capacity in (1, 3, 5, 12, 50):
        buffer = EMPTY_BUFFER
        for examples in np.split(np.arange(200), 5):
            buffer = greedily_balanced(buffer, examples, classes, capacity, np.random.default_rng(seed))
        held = np.bincount(classes[buffer.indices], minlength=5)
        assert held.sum() == len(set(buffer.indices.tolist())) == capacity
        assert held.max() - held.min() <= 1


@pytest.mark.parametrize(("n", "held"), [(22, 9), (9, 9), (7, 9), (20, 5), (3, 1)])
def test_an_epoch_is_one_shuffled_pass_after_the_other(n: int, held: int) -> None:
    buffer = Buffer(np.arange(100, 100 + held), held)
    found = passes(n, buffer, generator(0, "mix"))
    assert len(found) == n
    for at in range(0, n, held):
        part = found[at : at + held].tolist()
        assert len(set(part)) == len(part) == min(held, n - at)
        assert set(part) <= set(buffer.indices.tolist())


class PlainGDumb(PlainLoop):
    """Before each task its own first weights, then steps on its own memory alone."""

    def start(self) -> None:
        self.first, self.sampler = self.weights(), sampler(int(self.values["gdumb_buffer"]))

    def train_task(self, number: int) -> None:
        task, epochs = self.stream.tasks[number], int(self.values["epochs"])
        come = shuffled(self.run, task.train, number, epochs - 1)
        draws = generator(self.run.seed, "buffer", number).random(len(come))
        for example, draw in zip(come.tolist(), draws.tolist(), strict=True):
            self.sampler.sample(example, int(self.stream.y[example]), draw)
        with torch.no_grad():
            for name, value in self.first.items():
                self.network.get_parameter(name).copy_(value)
        super().train_task(number)

    def batches_of(self, number: int) -> list[NDArray[np.int64]]:
        n, size, found = len(self.stream.tasks[number].train), int(self.values["batch_size"]), []
        for epoch in range(int(self.values["epochs"])):
            rng, order = generator(self.run.seed, "mix", number, epoch), list[int]()
            while len(order) < n:
                order += rng.permutation(self.sampler.held).tolist()
            found += [np.array(order[:n][at : at + size]) for at in range(0, n, size)]
        return found


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("seed", "size"), [(0, 9), (1, 2), (2, 50)])
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, size: int) -> None:
    """With fewer places than classes, and with more than a task has examples."""
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "gdumb_buffer": size}
    run, stream = RunSpec(0, seed, values_of(("gdumb",), **given)), small_stream(seed=seed)
    pack, plain = twins_agree(("gdumb",), PlainGDumb, stream, run, scenario, atol=5e-6)
    assert isinstance(plain, PlainGDumb)
    assert pack.stack.buffers["gdumb"][0].indices.tolist() == plain.sampler.held
    assert pack.records[0].stored_bytes == size * 36 * 4, "the weights of the beginning are those of the seed"
    assert pack.records[0].steps == 3 * 3 * 5


def test_each_task_begins_with_the_weights_of_its_run() -> None:
    runs = tuple(RunSpec(k, seed, values_of(("gdumb",), lr=1e-12)) for k, seed in enumerate((0, 1)))
    pack = make_pack(small_stream(), ("gdumb",), runs)
    start: Tensor = weights(pack).clone()
    finish(pack)
    torch.testing.assert_close(weights(pack), start, rtol=0, atol=1e-6)
    ingredient, theta = pack.context.ingredients[0], torch.randn(start.shape[1])
    assert isinstance(ingredient, GDumb)
    state = {"initial": start[0]}
    for size, expected in ((9.0, start[0]), (0.0, theta)):
        assert ingredient.start_task(theta, state, {"gdumb_buffer": torch.tensor(size)}, 1)[0].equal(expected)


def test_nothing_is_left_of_what_the_buffer_does_not_hold() -> None:
    """Two streams whose first task differs, but not in what is kept of it in the end, end alike."""
    stream, run = small_stream(), RunSpec(0, 0, values_of(("gdumb",), gdumb_buffer=6))
    pack = make_pack(stream, ("gdumb",), (run,), "class-il")
    pack.train_next_task()
    after_first = weights(pack).clone()
    finish(pack)
    held = set(pack.stack.buffers["gdumb"][0].indices.tolist())
    other = small_stream()
    for index in stream.tasks[0].train:
        if index not in held:
            other.x[index] += 5.0
    again = make_pack(other, ("gdumb",), (run,), "class-il")
    again.train_next_task()
    assert not torch.equal(weights(again), after_first)
    assert torch.equal(weights(finish(again)), weights(pack))


def test_it_conforms_with_a_buffer_that_is_full() -> None:
    """Beside `test_conformance.py`, where the default holds all that there is."""
    check_ingredient("gdumb", gdumb_buffer=12)


@pytest.mark.parametrize("value", [-1, 2.5])
def test_values_outside_the_rules_are_refused(value: float) -> None:
    (hyper,) = registry["gdumb"].hypers
    assert hyper.takes_effect == "start"
    with pytest.raises(InputError, match=r"`0 <= gdumb_buffer, .*` must hold, but got gdumb_buffer="):
        hyper.check(value, "space.yaml")
