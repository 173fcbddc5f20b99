"""Bundles of a stream with an encoder: they answer on what the user has, say what they need, and go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import cfsweep
from cfsweep.bundle import Model, continue_, load
from cfsweep.bundle.paired import paired_answers
from cfsweep.bundle.writer import CARD, PROGRAM
from cfsweep.errors import InputError
from cfsweep.library.trainings import Training
from cfsweep.metrics.answers import PairedScores
from tests import own_encoders

OWN = "tests.own_encoders"
CLOSED = ["ncm", "slda", "ranpac"]
SMALL: dict[str, Any] = {"network.name": "linear", "stream.validation_frac": 0.25}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))


def write_tasks(folder: Path, n_tasks: int = 3) -> Path:
    """Images of two classes a task, one file each."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(n_tasks):
        arrays, centres = {}, rng.integers(0, 200, size=(2, 1, 8, 8))
        for part, n in (("train", 24), ("test", 8)):
            labels = np.resize([0, 1], n)
            arrays[f"x_{part}"] = (centres[labels] + rng.integers(0, 55, size=(n, 1, 8, 8))).astype(np.uint8)
            arrays[f"y_{part}"] = labels + 2 * number
        np.savez(folder / f"task-{number}.npz", **arrays)
    return folder


def trained(folder: Path, name: str, encoder: str = "network") -> Training:
    extra = {"ranpac_projection": 30} if name == "ranpac" else {}
    return cfsweep.train(
        str(folder),
        ingredients=[name],
        scenario="class-il",
        test=True,
        encoder=f"{OWN}:{encoder}",
        settings={**SMALL, **extra, "stream.encoder_args.seed": 1},
    )


def raw(folder: Path, task: int) -> tuple[torch.Tensor, list[int]]:
    content = np.load(folder / f"task-{task}.npz")
    return torch.from_numpy(content["x_test"]), content["y_test"].tolist()


@pytest.mark.parametrize("name", CLOSED)
def test_it_answers_on_raw_examples_as_it_was_scored(tmp_path: Path, name: str) -> None:
    folder = write_tasks(tmp_path / "tasks")
    run = trained(folder, name)
    run.export(tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    for task in range(3):
        x, labels = raw(folder, task)
        right = [one == label for one, label in zip(model.predict(x), labels, strict=True)]
        assert sum(right) / len(right) == run.test[0, -1, task]
        features = model.features(x)
        with torch.no_grad():
            assert torch.allclose(features, own_encoders.network(1).eval()(x), atol=1e-5)
        assert torch.equal(model.outputs(features, encoded=True), model.outputs(x))
        program = torch.export.load(tmp_path / "bundle" / PROGRAM).module()
        torch.testing.assert_close(program(features), model.outputs(x), rtol=1e-3, atol=1e-4)
    assert model.about.encoder is not None
    assert model.about.input_shape == (5,)
    said = (tmp_path / "bundle" / CARD).read_text()
    assert f"features that encoder `{OWN}:network` makes of what the user has (1 x 8 x 8, uint8)" in said


@pytest.mark.usefixtures("no_program")
def test_texts_are_answered_too(tmp_path: Path) -> None:
    run = cfsweep.train(
        f"{OWN}:text_tasks",
        ingredients=["slda"],
        scenario="class-il",
        test=True,
        encoder=f"{OWN}:lengths",
        settings=SMALL,
    )
    run.export(tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    for number, task in enumerate(own_encoders.text_tasks()):
        texts, labels = task["test"]
        right = [one == label for one, label in zip(model.predict(texts), labels.tolist(), strict=True)]
        assert sum(right) / len(right) == run.test[0, -1, number]
        assert model.predict(np.array(texts)) == model.predict(pd.Series(texts)) == model.predict(texts)
    refused: list[tuple[Any, str]] = [("abc", "one text"), ("t.csv", "one text"), ([1.5], "list"), (b"abc", "bytes")]
    for given, name in [*refused, (pd.DataFrame({"text": ["abc"]}), "DataFrame")]:
        with pytest.raises(InputError) as caught:
            model.predict(given)
        said = f"model: it answers a list of texts, but got {name}. Give a list of texts, such as [text]."
        assert str(caught.value) == said


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("score", ["accuracy", "macro_f1"])
def test_a_gate_asks_the_models_about_the_same_features(tmp_path: Path, score: str) -> None:
    """Encoded once more, they would be answered by chance, and no difference between two models would show."""
    cfsweep.train(
        f"{OWN}:text_tasks",
        ingredients=["slda"],
        scenario="class-il",
        test=True,
        encoder=f"{OWN}:lengths",
        scores=["macro_f1", "accuracy"],
        settings=SMALL,
    ).export(tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    found = paired_answers(tmp_path / "bundle", tmp_path / "bundle", score=score).answers
    for of_task, task in zip(found, own_encoders.text_tasks(), strict=True):
        texts, labels = task["test"]
        by_hand = {"accuracy": accuracy_score, "macro_f1": partial(f1_score, average="macro")}[score]
        expected = by_hand(labels, model.predict(texts))
        if isinstance(of_task, PairedScores):
            assert of_task.of(np.arange(len(labels))) == pytest.approx((expected, expected))
        else:
            assert of_task.champion is not None
            assert of_task.champion.mean() == of_task.candidate.mean() == pytest.approx(expected)


@pytest.mark.usefixtures("no_program")
def test_a_gate_judges_by_no_answers_that_are_not_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(write_tasks(tmp_path / "all"), "slda").export(tmp_path / "bundle")
    outputs = Model.outputs
    monkeypatch.setattr(Model, "outputs", lambda self, *args, **how: outputs(self, *args, **how).flip(0))
    with pytest.raises(
        InputError, match=r"of task `task-0` it has accuracy 0\.\d+, but had \d\.\d+ when it was exported"
    ):
        paired_answers(tmp_path / "bundle", tmp_path / "bundle")


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("name", CLOSED)
def test_it_goes_on_with_raw_examples_as_a_run_of_all_tasks(tmp_path: Path, name: str) -> None:
    whole, some = write_tasks(tmp_path / "all"), write_tasks(tmp_path / "some", 2)
    trained(whole, name).export(tmp_path / "whole")
    trained(some, name).export(tmp_path / "begun")
    continue_(tmp_path / "begun", whole / "task-2.npz", {}, tmp_path / "after")
    one, other = load(tmp_path / "whole"), load(tmp_path / "after")
    assert one.about.encoder == other.about.encoder
    for task in range(3):
        x, _ = raw(whole, task)
        torch.testing.assert_close(one.outputs(x), other.outputs(x), rtol=1e-3, atol=1e-3)
        assert one.predict(x) == other.predict(x)


@pytest.mark.usefixtures("no_program")
def test_texts_go_on_with_features(tmp_path: Path) -> None:
    cfsweep.train(
        f"{OWN}:text_tasks", ingredients=["ncm"], scenario="class-il", encoder=f"{OWN}:lengths", settings=SMALL
    ).export(tmp_path / "begun")
    model, arrays = load(tmp_path / "begun"), {}
    for part, n in (("train", 12), ("test", 4)):
        arrays[f"x_{part}"] = model.features(["xyz" * 30 + "i" * k for k in range(n)]).numpy()
        arrays[f"y_{part}"] = np.full(n, 4)
    np.savez(tmp_path / "next.npz", **arrays)
    continue_(tmp_path / "begun", tmp_path / "next.npz", {}, tmp_path / "after")
    assert load(tmp_path / "after").predict(["xyz" * 31]) == [4]


@pytest.mark.usefixtures("no_program")
def test_another_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tasks(tmp_path / "tasks", 2)
    trained(folder, "ncm").export(tmp_path / "bundle")
    kind = own_encoders.Network
    monkeypatch.setattr(own_encoders, "Network", lambda seed, size: kind(seed + 1, size))
    model, (x, _) = load(tmp_path / "bundle"), raw(folder, 0)
    with pytest.raises(InputError, match=r"the features were made by encoder `tests.own_encoders:network` of SHA-256"):
        model.predict(x)
    more = write_tasks(tmp_path / "more") / "task-2.npz"
    with pytest.raises(InputError, match=r"but the one here has .*Bring it back as it was, or train again"):
        continue_(tmp_path / "bundle", more, {}, tmp_path / "after")
    monkeypatch.delattr(own_encoders, "network")
    with pytest.raises(InputError, match=r"the model needs its encoder.*unknown function") as caught:
        load(tmp_path / "bundle").predict(x)
    assert "\n" not in str(caught.value)


def test_examples_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "tasks", 2)
    model = trained(folder, "ncm").model()
    with pytest.raises(InputError, match=r"examples must be \(n, 1, 8, 8\), but got \(2, 3\)"):
        model.predict(np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"examples must be \(n, 5\), but got \(2, 3\)"):
        model.predict(np.zeros((2, 3), np.float32), encoded=True)
