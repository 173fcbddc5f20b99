"""What the sweep asks of every `Trainer`, of each kind that there is: a pack of one run, and a trainer from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.testing import make_pack, small_stream
from cfsweep.training.outside import OutsideTrainer, tasks_named
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport, PackSpec, RunSpec, score_rows
from cfsweep.training.streams import Stream
from cfsweep.training.trainer import Trainer, open_trainer
from tests.training.outside import trainers

CPU = torch.device("cpu")
OUTSIDE = "tests.training.outside.trainers:in_a_folder"


def of_pack() -> tuple[PackSpec, Stream]:
    spec = make_pack(small_stream(), ("ewc",)).spec
    return replace(spec, runs=spec.runs[:1]), small_stream()


def of_outside() -> tuple[PackSpec, Stream]:
    names = [str(task) for task in range(trainers.N_TASKS)]
    run = RunSpec(2, 5, {"kept": 0.8, "rate": 0.9})
    spec = PackSpec(NetworkConfig(), "task-il", (), (run,), trainer=OUTSIDE)
    return spec, tasks_named(OUTSIDE, names, {"validation": [None] * len(names), "test": [None] * len(names)})


KINDS: dict[type, Callable[[], tuple[PackSpec, Stream]]] = {Pack: of_pack, OutsideTrainer: of_outside}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type:
    found: type = request.param
    return found


def begun(kind: type, checkpoint: bytes | None = None, **changes: object) -> Trainer:
    spec, stream = KINDS[kind]()
    return open_trainer(replace(spec, **changes), stream, CPU, checkpoint=checkpoint)  # type: ignore[arg-type]


def finished(trainer: Trainer) -> PackReport:
    while not trainer.done:
        trainer.train_next_task()
    return trainer.report()


def same_scores(one: PackReport, other: PackReport, n_tasks: int) -> bool:
    matrices = [score_rows(report.records[0].validation, n_tasks)[1:].tolist() for report in (one, other)]
    return matrices[0] == matrices[1]


def test_it_is_opened_as_what_the_spec_says(kind: type) -> None:
    assert type(begun(kind)) is kind


def test_it_trains_one_task_at_a_time_to_the_last(kind: type) -> None:
    trainer, n_tasks = begun(kind), len(KINDS[kind]()[1].tasks)
    assert trainer.report().task == -1
    assert not trainer.done
    for task in range(n_tasks):
        report = trainer.train_next_task()
        assert report.task == task
        assert report.records[0].tasks_done == task + 1
        assert report.done == trainer.done == (task == n_tasks - 1)
        assert {part: len(counts) for part, counts in report.n_examples.items()} == dict.fromkeys(
            ("validation", "test"), n_tasks
        )
    with pytest.raises(ValueError, match="done"):
        trainer.train_next_task()


def test_what_has_been_reported_stays(kind: type) -> None:
    trainer = begun(kind)
    early = trainer.train_next_task()
    rows = [list(row) for row in early.records[0].validation[1:]]
    trainer.train_next_task()
    assert early.records[0].validation[1:] == rows
    assert early.records[0].tasks_done == 1


def test_the_same_seed_gives_the_same_scores_and_another_one_others(kind: type) -> None:
    spec, stream = KINDS[kind]()
    n_tasks, (run,) = len(stream.tasks), spec.runs
    assert same_scores(finished(begun(kind)), finished(begun(kind)), n_tasks)
    assert not same_scores(finished(begun(kind)), finished(begun(kind, runs=(replace(run, seed=9),))), n_tasks)


def test_it_goes_on_from_each_checkpoint(kind: type) -> None:
    trainer, n_tasks = begun(kind), len(KINDS[kind]()[1].tasks)
    while not trainer.done:
        trainer.train_next_task()
        trainer = begun(kind, checkpoint=trainer.checkpoint())
    assert same_scores(trainer.report(), finished(begun(kind)), n_tasks)


def test_a_run_that_is_dropped_is_trained_no_further(kind: type) -> None:
    trainer, (run,) = begun(kind), KINDS[kind]()[0].runs
    trainer.train_next_task()
    trainer.drop([(run.trial, run.seed + 1)])
    assert not trainer.done, "that was another one"
    trainer.drop([run.key])
    assert trainer.done
    assert trainer.report().records[0].tasks_done == 1
    assert trainer.models() == {}


def test_it_keeps_what_it_came_to_where_that_is_asked_for(kind: type) -> None:
    (run,) = KINDS[kind]()[0].runs
    asked, other = begun(kind, keep_models=True), begun(kind)
    assert asked.models() == {}, "it has not come to anything"
    for trainer in (asked, other):
        finished(trainer)
    assert other.models() == {}
    kept = asked.models()
    assert list(kept) == [run.key]
    again = begun(kind, checkpoint=kept[run.key])
    assert again.done
    assert again.report().records[0].validation[1:] == asked.report().records[0].validation[1:]
