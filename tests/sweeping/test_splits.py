"""Seeds that take turns with the splits of a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import budget, status
from cfsweep.sweeping.notes import splits_note
from cfsweep.sweeping.packing import pack_runs
from cfsweep.sweeping.references import majority_report
from cfsweep.sweeping.study import prepare
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.first_task_cache import first_task_keys
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack, example_counts
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.trainer import open_trainer
from tests.sweeping.in_process import Sweep, tiny
from tests.sweeping.test_more_seeds import more, numbers
from tests.sweeping.test_worker import SPEC

HYPERS = hypers_of(("ewc", "replay"))


@pytest.fixture(scope="module")
def several() -> Stream:
    """split-digits, its validation data cut in three ways."""
    return load_stream(StreamConfig(splits=3))


def study(splits: int = 3, seeds: int = 5, **changes: Any) -> StudyConfig:
    return tiny(**{"trials": 2, "seeds": seeds, "references": True, "stream": {"splits": splits}, **changes})


def test_runs_of_one_split_share_a_pack() -> None:
    values = {name: hyper.default for name, hyper in HYPERS.items()}
    runs = [RunSpec(trial, seed, values) for trial in range(3) for seed in range(7)]
    for splits, size in ((1, 8), (2, 8), (3, 4), (9, 8)):
        packs = pack_runs(study(splits, seeds=7), HYPERS, runs, size)
        for pack in packs:
            assert {run.seed % splits for run in pack.runs} == {pack.split}
            assert len(pack.runs) <= size
            assert PackSpec.from_dict(pack.to_dict()) == pack
        assert sorted(run.key for pack in packs for run in pack.runs) == sorted(run.key for run in runs)
    without = {name: value for name, value in SPEC.to_dict().items() if name != "split"}
    assert PackSpec.from_dict(without) == SPEC, "a pack on its way from an earlier version"


def test_each_seed_is_trained_on_its_split_by_every_trial(tmp_path: Path, several: Stream) -> None:
    """As if each split were a stream of its own."""
    sweep = Sweep(tmp_path / "study", several)
    sweep.train(sweep.open(study()))
    assert status(sweep.folder.root).complete
    found = numbers(sweep)
    assert {seed for _, seed in found} == set(range(5))
    apart = []
    for number in range(3):
        alone = Sweep(tmp_path / f"alone-{number}", several.of_split(number))
        alone.train(alone.open(study(splits=1)))
        apart.append(numbers(alone))
    for trial, seed in found:
        if trial <= 0:  # what a sampler proposes later depends on what it has heard
            matrices = [alone[trial, seed][1:] for alone in apart]
            assert found[trial, seed][1:] == matrices[seed % 3]
            assert trial == MAJORITY_TRIAL or matrices[0] != matrices[1] != matrices[2]


def test_added_seeds_go_on_with_the_splits(tmp_path: Path, several: Stream) -> None:
    grown, whole = Sweep(tmp_path / "grown", several), Sweep(tmp_path / "whole", several)
    grown.train(grown.open(study(seeds=2)))
    before, study_id = numbers(grown), grown.folder.read()[0].study_id
    config = more(grown, 5)
    assert config.study_id == study_id
    grown.train(grown.open(config))
    whole.train(whole.open(study()))
    after, theirs = numbers(grown), numbers(whole)
    assert {key: after[key] for key in before} == before
    for key in theirs:
        if key[0] <= 0:
            assert after[key][1:] == theirs[key][1:]


def test_a_trainer_goes_on_from_a_checkpoint_on_its_own_split(several: Stream) -> None:
    spec = PackSpec.from_dict({**SPEC.to_dict(), "split": 2})
    device = torch.device("cpu")
    whole = open_trainer(spec, several, device)
    broken = open_trainer(spec, several, device)
    assert isinstance(whole, Pack)
    assert whole.stream is several.of_split(2)
    while not whole.done:
        whole.train_next_task()
        broken.train_next_task()
        broken = open_trainer(spec, several, device, checkpoint=broken.checkpoint())
    assert [r.validation for r in broken.report().records] == [r.validation for r in whole.report().records]


def test_first_tasks_of_several_splits_are_not_taken_for_each_other(several: Stream) -> None:
    keys = []
    for number in range(3):
        pack = Pack(SPEC, several.of_split(number))
        keys += [first_task_keys(pack.context, pack.context.initial_weights())[0]]
    assert len(set(keys)) == 3


def test_a_pack_is_filled_with_the_seeds_of_one_split(tmp_path: Path, several: Stream) -> None:
    driver = Sweep(tmp_path, several).open(study(seeds=6, splits=3, pack_runs=4, references=False), workers=1)
    job = driver.next_pack()
    assert job is not None
    assert [run.key for run in job.spec.runs] == [(0, 0), (0, 3), (1, 0), (1, 3)]


def test_how_many_splits_there_are_is_said(tmp_path: Path, several: Stream) -> None:
    sweep = Sweep(tmp_path, several)
    sweep.train(sweep.open(study(seeds=2)))
    now = status(sweep.folder.root)
    assert now.splits == 3
    assert budget(now.trials, now.seeds, now.splits) == "2 trials x 2 seeds on 2 splits"
    said = "of 3 splits the 2 seeds of this study use the first 2 alone. Give `--seeds 3` or more."
    assert splits_note(study(seeds=2)) == said
    assert splits_note(study(seeds=3)) is None
    assert splits_note(study(splits=1, seeds=1)) is None


def test_the_constant_answer_is_that_of_each_seeds_split(several: Stream) -> None:
    constant = [constant_answer(several.of_split(number), "task-il") for number in range(3)]
    scores = [answer.steering for answer in constant]
    for number, of_split in enumerate(scores):  # so that the splits can be told apart
        of_split["validation"][-1][0] += number
    report = majority_report(constant, range(5), example_counts(several))
    assert [record.validation for record in report.records] == [scores[seed % 3]["validation"] for seed in range(5)]
    assert [record.seed for record in report.records] == list(range(5))


# ------------------------------------------------------------------------------------------------ steering


def test_a_study_with_a_stop_rule_has_steering_examples_and_another_id() -> None:
    given: dict[str, Any] = {"search": {"patience": {"low": 0, "high": 3}}, "ingredients": ("early-stopping",)}
    plain, stops = tiny(), tiny(**given)
    assert prepare(plain, "test").config.stream == plain.stream.model_copy(update={"standardise": "scalar"})
    prepared = prepare(stops, "test")
    assert prepared.config.stream.steering_frac == 0.1
    assert [len(task.steering) for task in prepared.stream.tasks] == [len(t.validation) for t in prepared.stream.tasks]
    assert prepared.config.study_id != stops.study_id
    assert prepare(prepared.config, "test").config == prepared.config, "as a resumed one"
    chosen = stops.model_copy(update={"stream": StreamConfig(steering_frac=0.3)})
    assert prepare(chosen, "test").config.stream.steering_frac == 0.3
