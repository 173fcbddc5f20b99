"""A bundle of images in folders goes on with folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import cfsweep
from cfsweep.bundle import Manifest, continue_, load, write
from cfsweep.bundle.writer import WEIGHTS
from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, finish, values_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream, pixels_below
from tests.conftest import Run
from tests.training.streams.pictures import picture, save, write_classes

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


def test_a_folder_of_images_is_answered(tmp_path: Path, run: Run) -> None:
    """The bundle's are grey and of 7 x 7; those of the folder are neither, and lie flat beside nested ones."""
    months(tmp_path / "some", ["2021", "2022"], ("cat", "dog"))
    about = bundle_of(tmp_path / "some", tmp_path / "bundle")
    seen, new = tmp_path / "some" / "2021", tmp_path / "new"
    for number in (2, 10):
        save(new / f"{number}.png", picture(number))
    save(new / "deep" / "er" / "a.JPEG", picture(3, (9, 12)))
    save(new / ".hidden" / "b.png", picture(4))
    (new / "notes.txt").write_text("of no image")
    code, out, err = run("predict", tmp_path / "bundle", new, "--to", "answers.csv")
    assert (code, out, err) == (0, "3 images answered; in answers.csv\n", "")
    found = pd.read_csv("answers.csv")
    assert list(found) == ["file", "prediction", "probability=cat", "probability=dog"]
    assert found["file"].tolist() == ["2.png", "10.png", "deep/er/a.JPEG"]
    stream, model = load_stream(about.stream_config), load(tmp_path / "bundle")
    own = cfsweep.predict(tmp_path / "bundle", seen, "seen.parquet")
    first = np.sort(np.concatenate(list(stream.tasks[0].parts.values())))
    assert own["file"].tolist() == [f"{label}/{n}.png" for label in ("cat", "dog") for n in range(12)]
    assert own["prediction"].tolist() == model.predict(stream.x[first])
    likely = model.probabilities(stream.x[first]).to_numpy()
    np.testing.assert_allclose(own.iloc[:, 2:].to_numpy(), likely, atol=1e-6)


def test_images_that_cannot_be_answered_are_one_line(tmp_path: Path, run: Run) -> None:
    months(tmp_path / "some", ["2021", "2022"], ("cat", "dog"))
    bundle_of(tmp_path / "some", tmp_path / "bundle")

    def said(folder: Path) -> str:
        code, out, complaint = run("predict", tmp_path / "bundle", folder, "--to", "answers.csv")
        assert (code, out, complaint.count("\n")) == (2, "", 1)
        assert not Path("answers.csv").exists()
        return complaint

    (tmp_path / "empty").mkdir()
    assert "empty: no images are there (.png, .jpg, .jpeg). Name" in said(tmp_path / "empty")
    assert "the model was trained on images, so a folder of images is needed" in said(tmp_path / "nowhere")
    save(tmp_path / "bad" / "a.png", picture(0))
    (tmp_path / "bad" / "b.png").write_bytes(b"none")
    assert "bad, b.png: the image is damaged or not what its name says" in said(tmp_path / "bad")
    with pytest.raises(InputError, match=r"takes an array or a tensor \(n, 1, 7, 7\), but got the path new\. `cfsw"):
        load(tmp_path / "bundle").predict("new")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ({"mode": "grey"}, "a.png: the model was trained on images of 8 x 8 pixels .*, but it has 8 x 9. Resize it."),
        ({"size": 8}, "a.png: the model was trained on grey images, but it is rgb. Convert it."),
    ],
)
def test_what_no_argument_allows_is_not_changed(tmp_path: Path, args: dict[str, object], line: str) -> None:
    save(tmp_path / "a.png", picture(0, (8, 9)))
    with pytest.raises(InputError, match=line):
        list(pixels_below(tmp_path, (1, 8, 8), args))
