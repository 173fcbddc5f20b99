"""Trials of a sweep are trained again on the validation data, too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cfsweep.config import FRESH
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.sweeping.confirm import FOLDERS
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.streams import Stream, load_stream
from tests.sweeping.confirming import Confirmed, flat, restored, trained_apart
from tests.sweeping.in_process import Killed, Sweep, tiny
from tests.sweeping.test_faults import killed_at


def test_refitted_models_are_trained_on_validation_data_too_and_tested_alone(
    root: Path, confirmed: Confirmed, stream: Stream
) -> None:
    outcome = confirmed(0, 5, references=(-1, -2), seeds=2, purpose="refit")
    inside, whole = Sweep(root / FOLDERS["refit"], stream), stream.refitted()
    assert outcome.status.goes_on_by == f"cfsweep confirm {root} --seeds 2 --refit"
    assert not (root / "confirmed").exists()
    for task, before in zip(whole.tasks, stream.tasks, strict=True):
        assert sorted([*before.train, *before.validation]) == list(task.train)
        assert not len(task.validation)
        assert np.array_equal(task.test, before.test)
    told = yaml.safe_load(inside.folder.study_file.read_text())
    assert [(t["n_train"], t["n_validation"]) for t in told["tasks"]] == [(len(t.train), 0) for t in whole.tasks]
    assert (whole.x is stream.x, whole.shift, whole.scale) == (True, stream.shift, stream.scale), "seen the same way"

    records = [r for pack in trained_apart(root, [0, 5], 2, whole, parts=("test",)) for r in pack.records]
    tests = inside.matrices("test")
    assert {record.key: flat(record.test) for record in records}.items() <= tests.items()
    assert tests[MAJORITY_TRIAL, FRESH] == flat(constant_answer(whole, "task-il", ("test",)).steering["test"])
    assert len(tests) == 10
    assert inside.rows("accuracy") == []
    for row in inside.rows():
        assert (row["state"], row["tasks_done"]) == ("done", 5)
        missing = json.loads(row["missing"])
        for name, value in row.items():
            if name.startswith(("val_", "objective_")):
                reason = missing[name.partition("_")[2]]
                assert (value, reason) == (None, "trained on the validation data, too"), name
    assert restored(inside, (5, FRESH + 1), whole).records[0].test == records[3].test


def test_refitted_it_goes_on_too_and_has_no_curves(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    shutil.rmtree(root)
    sweep = Sweep(root, stream)
    sweep.train(sweep.open(tiny(trials=2, references=True, curve_points_per_task=2)))
    with pytest.raises(Killed):
        confirmed(0, references=(-1,), purpose="refit", fault=killed_at(7))
    outcome = confirmed(0, references=(-1,), purpose="refit")
    inside = Sweep(root / "refitted", stream)
    assert outcome.status.complete
    assert inside.rows("curves") == []
    assert confirmed(0, 1, references=(-1,), purpose="refit").status.done == 2
    assert confirmed(1, references=(-1,), purpose="refit").nothing_to_do


def test_a_stream_of_several_splits_is_refitted_in_each(root: Path, stream: Stream, confirmed: Confirmed) -> None:
    shutil.rmtree(root)
    config = tiny(trials=1, seeds=2, references=True)
    config = config.model_copy(update={"stream": config.stream.model_copy(update={"splits": 2})})
    sweep = Sweep(root, load_stream(config.stream))
    sweep.train(sweep.open(config))
    for purpose in FOLDERS:
        assert confirmed(0, references=(-1,), seeds=2, purpose=purpose).status.complete
    inside = Sweep(root / "refitted", stream)
    whole = sweep.stream.of_split(1).refitted()
    (pack,) = trained_apart(root, [0], 2, whole, parts=("test",))[1:]
    assert inside.matrices("test")[0, FRESH + 1] == flat(pack.records[0].test)
