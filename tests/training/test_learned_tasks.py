"""Tasks that the first weights know: evaluated, consolidated, and not trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario, StreamConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import (
    MLP,
    UNLIFTABLE,
    assert_same,
    assert_same_outcome,
    finish,
    make_pack,
    outcome,
    restored,
    scenario_for,
    small_stream,
    values_of,
    varied_runs,
)
from cfsweep.testing.plain import ByName, PlainLoop
from cfsweep.training.ingredients import ClosedForm, Substitute, ingredient_class, registry
from cfsweep.training.networks import noted
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, Task, load_stream
from tests.training.ingredients.test_steps import BY_STEPS
from tests.training.test_first_task_cache import Shelf

SOURCE = small_stream()
KNOWN = replace(SOURCE, n_learned=1)


def weights_of_source(path: Path, scenario: Scenario, network: NetworkConfig = MLP) -> NetworkConfig:
    """`network` with the weights that plain training on the first task alone has come to."""
    pack = make_pack(SOURCE, (), scenario=scenario, network=network, batch_size=6, lr=0.05, epochs=6)
    pack.train_next_task()
    own = pack.context.layout.unflatten(pack.stack.theta[0])
    torch.save({**own, **dict(pack.context.lifted.module.named_buffers())}, path)
    return noted(network.model_copy(update={"init": str(path)}))


@pytest.mark.parametrize("name", [None, *sorted(registry.keys() - BY_STEPS)])
def test_the_task_is_evaluated_with_the_first_weights_and_nothing_moves(name: str | None, tmp_path: Path) -> None:
    names, scenario = ((name,), scenario_for(name)) if name else ((), "task-il")
    network = weights_of_source(tmp_path / "w.pt", scenario)
    pack = make_pack(KNOWN, names, scenario=scenario, network=network, curves=1)
    begun = pack.stack.theta.clone()
    pack.train_next_task()
    (record,) = pack.records
    assert torch.equal(pack.stack.theta, begun)
    assert record.steps == 0
    assert record.curves == []
    assert len(record.validation) == len(record.test) == 2
    if not (name and issubclass(ingredient_class(name), Substitute)) and scenario != "class-il":
        assert record.test[0] == record.test[1], "of the same weights"
    assert record.test[1][0] > 0.8, "which know the task"
    finish(pack)
    assert record.failure is None
    by_sums = bool(name) and issubclass(ingredient_class(name or ""), ClosedForm)
    assert torch.equal(pack.stack.theta, begun) == by_sums, "whose network stays as the first task left it"
    expected = 0 if by_sums else 2 * 3 * 5
    assert record.steps == expected or name == "early-stopping", "of the two other tasks"


@pytest.mark.parametrize("name", sorted(BY_STEPS))
def test_what_goes_by_steps_is_refused_in_a_pack_too(name: str) -> None:
    pack = make_pack(KNOWN, (name,), scenario=scenario_for(name))
    with pytest.raises(InputError, match=rf"^stream\.learned: .*`{re.escape(name)}` needs"):
        pack.train_next_task()


class KnowsTheFirst(PlainLoop):
    """The first task is not trained."""

    def train_task(self, number: int) -> None:
        if number > 0:
            super().train_task(number)


class WithEWC(KnowsTheFirst):
    """Beside it EWC, separate, with the empirical Fisher of all examples of a task."""

    def start(self) -> None:
        self.anchors: list[tuple[ByName, ByName]] = []

    def penalty(self) -> Tensor:
        strength = 0.5 * float(self.values["ewc_lambda"])
        return sum((strength * self.quadratic(*anchor) for anchor in self.anchors), torch.zeros(()))

    def end_task(self, number: int, task: Task) -> None:
        fisher = self.zeros()
        for index in task.train.tolist():
            self.network.zero_grad()
            self.loss(index, number + 1).backward()  # type: ignore[no-untyped-call]
            for name, gradient in self.gradients().items():
                fisher[name] += gradient**2 / len(task.train)
        self.anchors.append((fisher, self.weights()))


class WithL2SP(WithEWC):
    def end_task(self, number: int, task: Task) -> None:
        ones = {name: torch.ones_like(p) for name, p in self.network.named_parameters()}
        self.anchors = [(ones, self.weights())]

    def penalty(self) -> Tensor:
        strength = 0.5 * float(self.values["l2_sp_lambda"])
        return sum((strength * self.quadratic(*anchor) for anchor in self.anchors), torch.zeros(()))


@pytest.mark.parametrize("scenario", ["task-il", "class-il"])
@pytest.mark.parametrize(
    ("names", "twin", "given"),
    [
        ((), KnowsTheFirst, {}),
        (("ewc",), WithEWC, {"ewc_lambda": 50.0, "ewc_fisher": "empirical", "ewc_examples": 0}),
        (("l2-sp",), WithL2SP, {"l2_sp_lambda": 0.5}),
    ],
)
def test_it_goes_on_as_a_plain_loop_would(
    names: tuple[str, ...], twin: type[PlainLoop], given: dict[str, Any], scenario: Scenario, tmp_path: Path
) -> None:
    network = weights_of_source(tmp_path / "w.pt", scenario)
    run = RunSpec(0, 3, values_of(names, optimizer="sgd", lr=0.02, **given))
    plain = twin(KNOWN, run, scenario, network)
    accuracies = plain.train()
    pack = finish(make_pack(KNOWN, names, (run,), scenario, network))
    torch.testing.assert_close(pack.stack.theta[0], plain.theta(), rtol=0, atol=5e-5)
    assert pack.records[0].test == accuracies


def test_joint_trains_on_all_data_from_the_first_weights(tmp_path: Path) -> None:
    network = weights_of_source(tmp_path / "w.pt", "class-il")
    run = RunSpec(0, 3, values_of((), optimizer="sgd", lr=0.02))
    plain = KnowsTheFirst(KNOWN, run, "class-il", network, joint=True)
    accuracies = plain.train()
    pack = finish(make_pack(KNOWN, (), (run,), "class-il", network, joint=True))
    torch.testing.assert_close(pack.stack.theta[0], plain.theta(), rtol=0, atol=5e-5)
    assert pack.records[0].test == accuracies
    assert pack.records[0].steps == 3 * (9 + 14), "of 44 and of 66 examples, the first task's among them"


def test_an_optimizer_that_goes_on_begins_with_the_first_task_that_is_trained(tmp_path: Path) -> None:
    network = weights_of_source(tmp_path / "w.pt", "task-il")
    kept, fresh = (make_pack(KNOWN, network=network, optimizer_state=state) for state in ("kept", "fresh"))
    for pack in (kept, fresh):
        pack.train_next_task()
        assert pack.stack.optimizer_steps == 0
        pack.train_next_task()
    assert_same_outcome(
        {**outcome(kept.records[0]), "stored_bytes": 0}, {**outcome(fresh.records[0]), "stored_bytes": 0}
    )
    assert torch.equal(kept.stack.theta, fresh.stack.theta)
    assert kept.stack.optimizer_steps == kept.records[0].steps
    assert not torch.equal(finish(kept).stack.theta, finish(fresh).stack.theta)


def test_its_examples_get_into_buffers_and_what_a_remedy_keeps_of_it_is_counted(tmp_path: Path) -> None:
    network = weights_of_source(tmp_path / "w.pt", "task-il")
    pack = make_pack(KNOWN, ("replay",), network=network)
    pack.train_next_task()
    (record,) = pack.records
    assert sum(n for *_, n in record.buffers) == 9
    assert {(after, task) for _, after, task, _, _ in record.buffers} == {(0, 0)}
    assert set(pack.stack.buffers["replay"][0].indices.tolist()) <= set(SOURCE.tasks[0].train.tolist())
    assert record.stored_bytes == 9 * pack.context.store.example_bytes


def test_several_tasks_may_be_known(tmp_path: Path) -> None:
    network, stream = weights_of_source(tmp_path / "w.pt", "task-il"), replace(SOURCE, n_learned=2)
    pack = make_pack(stream, ("adapters",), network=network)
    begun = pack.stack.theta.clone()
    pack.train_next_task()
    pack.train_next_task()
    assert torch.equal(pack.stack.theta, begun)
    finish(pack)
    assert pack.records[0].test[2] == pack.records[0].test[1] == pack.records[0].test[0]
    assert not torch.equal(pack.stack.theta, begun)


@pytest.mark.parametrize("network", [MLP, UNLIFTABLE], ids=lambda network: network.name)
def test_sharing_restoring_and_neighbours_change_nothing(network: NetworkConfig, tmp_path: Path) -> None:
    network = weights_of_source(tmp_path / "w.pt", "task-il", network)
    runs = varied_runs(("ewc",), 1 if network.name == UNLIFTABLE.name else 4, batch_size=6)
    whole, pack = (make_pack(KNOWN, ("ewc",), runs, network=network) for _ in range(2))
    finish(whole)
    while not pack.done:
        pack = restored(pack)
        pack.train_next_task()
    assert_same(pack, whole)
    for run, record in zip(runs, whole.records, strict=True):
        alone = finish(make_pack(KNOWN, ("ewc",), (run,), network=network, share_first_task=False))
        assert_same_outcome(outcome(record), outcome(alone.records[0]))


def test_the_first_task_is_shared_between_packs_but_not_with_one_that_trains_it(tmp_path: Path) -> None:
    network, shelf = weights_of_source(tmp_path / "w.pt", "task-il"), Shelf()
    run = (RunSpec(0, 0, values_of(("ewc",))),)
    spec = PackSpec(network, "task-il", ("ewc",), run)

    def trained(stream: Stream, cache: Shelf | None) -> Pack:
        return finish(Pack(spec, stream, first_tasks=cache))

    alone = trained(KNOWN, None)
    assert_same(trained(KNOWN, shelf), alone)
    assert_same(trained(KNOWN, shelf), alone)
    assert len(shelf.found) == 1
    trained(SOURCE, shelf)
    assert len(shelf.contents) == 2


def test_a_stream_says_how_many_tasks_are_known() -> None:
    stream = load_stream(StreamConfig(learned=2, splits=2))
    assert [stream.n_learned, stream.of_split(1).n_learned] == [2, 2]
    assert load_stream(StreamConfig()).n_learned == 0
    np.testing.assert_array_equal(stream.tasks[0].train, load_stream(StreamConfig(splits=2)).tasks[0].train)
    with pytest.raises(InputError, match=r"`stream\.learned < 5`, its number of tasks, must hold, but got 5\. Leave a"):
        load_stream(StreamConfig(learned=5))
