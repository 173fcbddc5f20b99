"""Runs that finish a task before the others of their pack: they rest, whatever goes on around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cfsweep.hypers import Value
from cfsweep.testing.packs import (
    UNLIFTABLE,
    assert_equal,
    assert_same,
    finish,
    make_pack,
    outcomes,
    restored,
    small_stream,
    values_of,
    weights,
)
from cfsweep.testing.plain import OPTIMIZERS
from cfsweep.training.ingredients import State, StepObserver, Values, registry
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec

KNOBS: dict[str, list[Mapping[str, Value]]] = {
    "early-stopping": [{"patience": p} for p in (1, 0, 2, 1)],
    "forgetting-limit": [{"forgetting_limit": x} for x in (0.05, 1.0, 0.3, 0.0)],
}
OFF = 1  # the run of each that is never finished before its task ends
stopping = pytest.mark.parametrize("name", sorted(KNOBS))
optimizers = pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))


def runs_of(names: tuple[str, ...], **given: Value) -> tuple[RunSpec, ...]:
    """Four runs of two seeds, that finish at different steps."""
    (name,) = set(names) & set(KNOBS)
    return tuple(
        RunSpec(k, k // 2, values_of(names, **{"epochs": 6, "lr": 0.02, "weight_decay": 0.1, **given, **knob}))
        for k, knob in enumerate(KNOBS[name])
    )


def pack_of(names: tuple[str, ...], runs: tuple[RunSpec, ...], **given: int) -> Pack:
    return make_pack(small_stream(), names, runs, "domain-il", **given)


@optimizers
@stopping
def test_a_finished_run_does_not_move_by_a_bit(name: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, checked, resting = TaskLoop._advance, TaskLoop._check, []

    def snapshot(loop: TaskLoop) -> list[Tensor]:
        states = [value for state in loop.stack.states.values() for value in state.values()]
        return [value.clone() for value in (loop.stack.theta, *states)]

    def rested(loop: TaskLoop, before: list[Tensor], finished: Tensor) -> None:
        for old, new in zip(before, snapshot(loop), strict=True):
            assert torch.equal(old[finished], new[finished])
        resting.append(int(finished.sum()))

    def steps(loop: TaskLoop, until: int) -> None:
        before, finished = snapshot(loop), loop.finished_at >= 0
        advance(loop, until)
        rested(loop, before, finished)

    def check(loop: TaskLoop) -> bool:
        before, finished = snapshot(loop), loop.finished_at >= 0
        done = checked(loop)
        rested(loop, before, finished)
        return done

    monkeypatch.setattr(TaskLoop, "_advance", steps)
    monkeypatch.setattr(TaskLoop, "_check", check)
    pack = finish(pack_of((name,), runs_of((name,), optimizer=optimizer)))
    assert any(0 < n < 4 for n in resting)
    assert all(record.failure is None for record in pack.records)


@optimizers
@stopping
def test_alone_and_beside_others_all_is_the_same_curves_and_steps_too(name: str, optimizer: str) -> None:
    runs = runs_of((name,), optimizer=optimizer)
    together = finish(pack_of((name,), runs, curves=4))
    steps = [record.steps for record in together.records]
    assert steps[OFF] == 3 * 30
    assert len(set(steps)) > 2
    for k, run in enumerate(runs):
        alone = finish(pack_of((name,), (run,), curves=4))
        assert outcomes(alone)[0] == outcomes(together)[k]
        assert_equal(weights(alone)[0], weights(together)[k])
        assert all(step <= 30 for _, step, _, _ in together.records[k].curves)
    assert len(together.records[0].curves) < len(together.records[OFF].curves) == 4 * (1 + 2 + 3)
    naive = RunSpec(0, 0, values_of((), epochs=6, lr=0.02, weight_decay=0.1, optimizer=optimizer))
    assert_equal(weights(finish(pack_of((), (naive,))))[0], weights(together)[OFF])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@stopping
def test_so_it_is_with_an_optimizer_that_goes_on(name: str, optimizer: str) -> None:
    runs = runs_of((name,), optimizer=optimizer, optimizer_state="kept")
    together = finish(pack_of((name,), runs))
    assert len({record.steps for record in together.records}) > 2
    for k, run in enumerate(runs):
        alone = finish(pack_of((name,), (run,)))
        assert outcomes(alone)[0] == outcomes(together)[k]
        assert_equal(weights(alone)[0], weights(together)[k])


@stopping
def test_a_task_ends_when_every_run_has_finished_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    original = TaskLoop.run

    def spy(loop: TaskLoop, *given: Any) -> None:
        original(loop, *given)
        taken.append(loop.step)
        assert max(loop.steps_taken) == loop.step

    monkeypatch.setattr(TaskLoop, "run", spy)
    runs = tuple(run for k, run in enumerate(runs_of((name,))) if k != OFF)
    finish(pack_of((name,), runs))
    assert min(taken) < 30


@stopping
def test_steps_and_rest_survive_a_restore(name: str) -> None:
    names = ("replay", name)
    runs = runs_of(names, replay_ratio=0.2)
    whole = finish(pack_of(names, runs, curves=3))
    assert len({record.steps for record in whole.records}) > 1
    for before in (1, 2):
        pack = pack_of(names, runs, curves=3)
        for _ in range(before):
            pack.train_next_task()
        again = restored(pack)
        assert [r.steps for r in again.records] == [r.steps for r in pack.records]
        assert_same(finish(again), whole)


def test_what_breaks_after_a_run_has_finished_is_not_its_failure() -> None:
    stream, name = small_stream(), "forgetting-limit"
    runs = tuple(
        RunSpec(k, 1, values_of((name,), optimizer="adamw", lr=0.02, weight_decay=0.1, forgetting_limit=limit))
        for k, limit in enumerate((0.0, 1.0))
    )
    clean = make_pack(stream, (name,), (runs[0],), "class-il")
    clean.train_next_task()
    first = clean.records[0].steps
    clean.train_next_task()
    taken = clean.records[0].steps - first
    assert taken < 4, "it finishes within its first epoch"
    loop = TaskLoop(clean.context, clean.stack, 1, stream.tasks[1].train, lambda *_: None, lambda *_: torch.empty(0))
    unseen = int(loop.orders[0, 0, -1])  # of the last batch of the first epoch
    x = stream.x.clone()
    x[unseen] = torch.inf
    pack = make_pack(replace(stream, x=x), (name,), runs, "class-il")
    pack.train_next_task()
    pack.train_next_task()
    assert pack.records[0].failure is None
    assert pack.records[1].failure == "the loss was not finite at task 1, step 5 (lr=0.02)"
    assert pack.stack.alive == [0]
    assert pack.records[0].steps == clean.records[0].steps
    assert_equal(weights(pack), weights(clean))


class Counter(StepObserver):
    """Counts the steps of its run."""

    name, summary, paper, hypers = "counter", "", "", ()

    def initial_state(self, theta: Tensor) -> State:
        return {"steps": torch.zeros((), dtype=torch.int64), "unchanged": torch.ones(2)}

    def observe_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        return {"steps": state["steps"] + 1}


@stopping
def test_other_ingredients_note_no_step_of_a_finished_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry, "counter", Counter)
    names = ("counter", name)
    pack = finish(pack_of(names, runs_of(names)))
    counted = pack.stack.states["counter"]["steps"][torch.from_numpy(pack.stack.row_of)].tolist()
    assert counted == [record.steps for record in pack.records]
    assert len(set(counted)) > 2


def test_together_the_one_that_first_ends_a_task_has_its_way() -> None:
    """In class-il the limit breaks at once in task 1; in task 0 it has no say. A patience of 1 ends task 0 early."""
    order = ("early-stopping", "forgetting-limit")
    both, swapped, patient, limited = (
        finish(make_pack(small_stream(), names, scenario="class-il", **{"epochs": 6, **given}))
        for names, given in (
            (order, {"patience": 1}),
            (order[::-1], {"patience": 1}),
            (order[:1], {"patience": 1}),
            (order[1:], {}),
        )
    )
    assert_same(both, swapped)
    assert both.records[0].validation[:2] == patient.records[0].validation[:2]
    assert both.records[0].steps < patient.records[0].steps
    assert both.records[0].steps < limited.records[0].steps


@stopping
def test_a_network_that_cannot_be_lifted_stops_too(name: str) -> None:
    stream, knob = small_stream(), KNOBS[name][0]
    values = values_of((name,), epochs=6, lr=0.02, batch_size=11, **knob)
    first, second = (
        finish(make_pack(stream, (name,), (RunSpec(0, 0, values),), "domain-il", UNLIFTABLE, curves=2))
        for _ in range(2)
    )
    assert_same(first, second)
    assert first.records[0].steps < 3 * 12
