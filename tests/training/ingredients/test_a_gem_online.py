"""A-GEM's rings: which examples they hold, by hand and one at a time, and a whole run against a plain loop."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.testing import check_ingredient, make_pack, small_stream, twins_agree, values_of
from cfsweep.training.batches import shuffled
from cfsweep.training.ingredients import registry
from cfsweep.training.ingredients._buffer import latest_of_each_class
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Task
from tests.training.ingredients.test_a_gem import PlainAGem


def rings(come: list[int], classes: list[int], share: int) -> list[int]:
    """A ring for each class, written to one example after the other; the i-th of c has ⌊(i+1)s/c⌋ - ⌊is/c⌋ places."""
    labels = sorted({classes[example] for example in come})
    c = len(labels)
    held = {label: deque[int](maxlen=share * (i + 1) // c - share * i // c) for i, label in enumerate(labels)}
    for example in come:
        held[classes[example]].append(example)
    return [example for label in labels for example in held[label]]


def test_the_latest_of_each_class_by_hand() -> None:
    """5 places for two classes are 2 and 3: of class 0 the latest two of 4, 1, 3, of class 7 all there are."""
    classes = np.array([7, 0, 7, 0, 0])
    assert latest_of_each_class(np.array([4, 0, 1, 3, 2]), classes, 5).tolist() == [1, 3, 0, 2]
    assert latest_of_each_class(np.array([4, 0, 1, 3, 2]), classes, 0).tolist() == []
    assert latest_of_each_class(np.array([4, 0, 1, 3, 2]), classes, 1).tolist() == [2]


@pytest.mark.parametrize("seed", range(10))
def test_the_latest_of_each_class_are_what_rings_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(5, size=60, p=rng.dirichlet(np.full(5, 0.5)))
    for share in (0, 1, 4, 7, 30, 1000):
        come = rng.permutation(60)[:40]
        assert latest_of_each_class(come, classes, share).tolist() == rings(come.tolist(), classes.tolist(), share)


class PlainAGemOnline(PlainAGem):
    """The same steps; the buffer is a list of rings."""

    def update_buffer(self, number: int, task: Task) -> None:
        """Of the last epoch alone: what an earlier one wrote, the last one overwrites, or writes again."""
        come = shuffled(self.run, task.train, number, int(self.values["epochs"]) - 1)
        share = int(self.values["a_gem_online_buffer"]) // len(self.stream.tasks)
        self.buffer += rings(come.tolist(), self.stream.y.tolist(), share)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("seed", "size", "held"), [(0, 10, [2, 1]), (1, 60, [10, 10]), (2, 600, [11, 11])])
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, size: int, held: list[int]) -> None:
    """10 places for 3 tasks are 3 each, of which the classes have 1 and 2; of 200 each task fills 22."""
    run = RunSpec(0, seed, values_of(("a-gem-online",), optimizer="sgd", lr=0.02, a_gem_online_buffer=size))
    stream = small_stream(seed=seed)
    pack, plain = twins_agree(("a-gem-online",), PlainAGemOnline, stream, run, scenario, atol=5e-6)
    assert isinstance(plain, PlainAGemOnline)
    assert plain.n_projected > 0
    buffer = pack.stack.buffers["a-gem-online"][0]
    assert buffer.indices.tolist() == plain.buffer
    assert buffer.offered == 66
    counts = Counter(stream.y[buffer.indices].tolist())
    assert [counts[label] for label in range(6)] == 3 * sorted(held)
    assert pack.records[0].stored_bytes == 3 * sum(held) * 36 * 4


def test_nothing_of_it_acts_before_the_second_task() -> None:
    runs = tuple(
        RunSpec(k, 0, values_of(("a-gem-online",), a_gem_online_buffer=size)) for k, size in enumerate((9, 30))
    )
    pack = make_pack(small_stream(), ("a-gem-online",), runs)
    stream, run = pack.stream, runs[0]
    come = shuffled(run, stream.tasks[0].train, 0, 2).tolist()
    pack.train_next_task()
    assert len(pack.stack) == 2, "one row as they train the task, two when it has ended"
    small, large = (pack.stack.buffers["a-gem-online"][row].indices.tolist() for row in pack.stack.row_of)
    assert small == rings(come, stream.y.tolist(), 3)
    assert large == rings(come, stream.y.tolist(), 10)
    assert pack.stack.theta[0].equal(pack.stack.theta[1])


def test_every_example_is_as_likely_to_be_kept() -> None:
    """What lets the ring be the paper's random draw: chi-square over the 11 examples of a class; 10 degrees of freedom,
    fixed seeds."""
    stream, counts = small_stream(), Counter[int]()
    for seed in range(1000):
        come = shuffled(RunSpec(0, seed, {}), stream.tasks[0].train, 0, 2)
        counts.update(latest_of_each_class(come, stream.y.numpy(), 8).tolist())
    for label in (0, 1):
        own = np.array([counts[index] for index in stream.tasks[0].train if stream.y[index] == label])
        assert own.sum() == 4000
        chi_square = float(((own - own.mean()) ** 2 / own.mean()).sum())
        assert chi_square < 10 + 4 * np.sqrt(2 * 10)


def test_it_conforms_with_a_buffer_that_is_full() -> None:
    """Beside `test_conformance.py`, where the default holds all that there is."""
    check_ingredient("a-gem-online", a_gem_online_buffer=12)


@pytest.mark.parametrize("value", [-1, 2.5])
def test_values_outside_the_rules_are_refused(value: float) -> None:
    (hyper,) = registry["a-gem-online"].hypers
    with pytest.raises(InputError, match=r"`0 <= a_gem_online_buffer, .*` must hold, but got a_gem_online_buffer="):
        hyper.check(value, "space.yaml")
