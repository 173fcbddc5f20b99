"""A bundle whose images were augmented goes on with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cfsweep.bundle import Manifest, continue_, load, write
from cfsweep.bundle.writer import ANSWERS, CARD, STATE, WEIGHTS
from cfsweep.config import Space, StreamConfig, StudyConfig
from cfsweep.testing.packs import CNN, finish, values_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream

AUGMENT = ("flip", "tests.training.own_transforms:jitter", "crop")
pytestmark = pytest.mark.usefixtures("no_program")


def write_tasks(folder: Path, n_tasks: int) -> Path:
    """Images (2, 8, 8) uint8 of two classes, the same ones in each task."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(n_tasks):
        centres, arrays = rng.integers(0, 200, size=(2, 2, 8, 8)), {}
        for part, n in (("train", 30), ("test", 8)):
            labels = np.resize([0, 1], n)
            arrays[f"x_{part}"] = (centres[labels] + rng.integers(0, 50, (n, 2, 8, 8))).astype(np.uint8)
            arrays[f"y_{part}"] = labels
        np.savez(folder / f"task-{number}.npz", **arrays)
    return folder


def bundle_of(folder: Path, to: Path, names: tuple[str, ...], augment: tuple[str, ...] = AUGMENT) -> Manifest:
    # By the first task alone, so that it is the same however many there are.
    config = StreamConfig(name=str(folder), scenario="domain-il", standardise="channel", augment=augment)
    run = RunSpec(0, 1, values_of(names, epochs=2))
    spec = PackSpec(CNN, config.scenario, names, (run,), keep_models=True)
    pack = finish(Pack(spec, load_stream(config)))
    study = StudyConfig(purpose="confirm", space=Space(ingredients=names), stream=config)
    return write(pack, study, {"study_id": "0123456789ab", "git_revision": None}, to)


@pytest.mark.parametrize("names", [(), ("replay",), ("der++-online", "ewc")], ids=str)
def test_it_goes_on_as_the_run_that_had_all_tasks(tmp_path: Path, names: tuple[str, ...]) -> None:
    whole = bundle_of(write_tasks(tmp_path / "all", 3), tmp_path / "whole", names)
    bundle_of(write_tasks(tmp_path / "some", 2), tmp_path / "begun", names)
    about = continue_(tmp_path / "begun", tmp_path / "all" / "task-2.npz", {}, tmp_path / "on")
    assert about.stream_config.augment == AUGMENT
    assert about.scores["test"][-1][-1] == whole.scores["test"][-1][-1]
    for file in (WEIGHTS, ANSWERS, STATE):
        mine, theirs = load_file(tmp_path / "on" / file), load_file(tmp_path / "whole" / file)
        for name, value in theirs.items():
            assert name.endswith("/place") or torch.equal(mine[name], value), name


def test_its_card_says_so_and_it_answers_about_the_examples_as_they_are(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks", 2)
    about = bundle_of(folder, tmp_path / "bundle", ())
    assert "In training images were augmented by `flip`, `tests.training" in (tmp_path / "bundle" / CARD).read_text()
    plain = bundle_of(folder, tmp_path / "plain", (), ())
    assert "augmented" not in (tmp_path / "plain" / CARD).read_text()
    assert plain.files[WEIGHTS] != about.files[WEIGHTS]
    stream, model = load_stream(about.stream_config), load(tmp_path / "bundle")
    for number, task in enumerate(stream.tasks):
        right = np.array(model.predict(stream.x[task.test])) == stream.user_labels(task.test)
        assert right.mean() == about.scores["test"][-1][number]
