"""A bundle of images in folders goes on with folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cfsweep.bundle import Manifest, continue_, load, write
from cfsweep.bundle.writer import WEIGHTS
from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, finish, values_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream
from tests.training.streams.pictures import write_classes

pytestmark = pytest.mark.usefixtures("no_program")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))


def bundle_of(
    folder: Path, to: Path, scenario: Scenario = "domain-il", by: Literal["channel", "imagenet"] = "channel"
) -> Manifest:
    args = {"size": 7, "mode": "rgb" if by == "imagenet" else "grey"}
    config = StreamConfig(name=str(folder), scenario=scenario, standardise=by, augment=("flip",), args=args)
    run = RunSpec(0, 1, values_of(("replay",), epochs=2))
    spec = PackSpec(CNN, config.scenario, ("replay",), (run,), keep_models=True)
    pack = finish(Pack(spec, load_stream(config)))
    study = StudyConfig(purpose="confirm", space=Space(ingredients=("replay",)), stream=config)
    return write(pack, study, {"study_id": "0123456789ab", "git_revision": None}, to)


def months(folder: Path, names: list[str], classes: Sequence[str] = ("3", "8")) -> Path:
    for number, name in enumerate(names):
        write_classes(folder / name, list(classes), seed=number)
    return folder


@pytest.mark.parametrize(("classes", "by"), [(("3", "8"), "channel"), (("cat", "dog"), "imagenet")])
def test_the_next_folder_is_learned_as_in_one_stream(
    tmp_path: Path, classes: tuple[str, ...], by: Literal["channel", "imagenet"]
) -> None:
    months(tmp_path / "all", ["2021", "2022", "2023"], classes)
    whole = bundle_of(tmp_path / "all", tmp_path / "whole", by=by)
    bundle_of(months(tmp_path / "some", ["2021", "2022"], classes), tmp_path / "begun", by=by)
    about = continue_(tmp_path / "begun", tmp_path / "all" / "2023", {}, tmp_path / "on")
    assert [task.name for task in about.tasks] == ["2021", "2022", "2023"]
    assert about.class_ids == ((3, 8) if classes[0] == "3" else classes)
    assert about.tasks[2] == whole.tasks[2]
    assert by in (tmp_path / "on" / "MODEL_CARD.md").read_text()
    mine, theirs = (load_file(tmp_path / name / WEIGHTS) for name in ("on", "whole"))
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    stream, model = load_stream(whole.stream_config), load(tmp_path / "on")
    test = stream.tasks[2].test
    right = np.array(model.predict(stream.x[test])) == stream.user_labels(test)
    assert right.mean() == about.scores["test"][-1][-1]


def test_new_classes_come_behind_the_known_ones(tmp_path: Path) -> None:
    bundle_of(months(tmp_path / "some", ["2021", "2022"], ("cat", "dog")), tmp_path / "begun", "class-il")
    write_classes(tmp_path / "new", ["bird", "dog"], seed=7)
    about = continue_(tmp_path / "begun", tmp_path / "new", {}, tmp_path / "on")
    assert about.class_ids == ("cat", "dog", "bird")
    assert about.tasks[2].classes == (1, 2)


def test_what_cannot_follow(tmp_path: Path) -> None:
    bundle_of(months(tmp_path / "some", ["2021", "2022"]), tmp_path / "begun")

    def refused(task: Path) -> str:
        with pytest.raises(InputError) as caught:
            continue_(tmp_path / "begun", task, {}, tmp_path / "on")
        return str(caught.value)

    assert "the bundle has learned it already" in refused(tmp_path / "some" / "2022")
    assert "one task is learned at a time, but it holds 2021, 2022. Give one" in refused(tmp_path / "some")
    words = write_classes(tmp_path / "words", ["cat", "dog"])
    assert "labels must be whole numbers as those of the bundle, but are words." in refused(words)
    assert not (tmp_path / "on").exists()
