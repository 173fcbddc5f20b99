"""What a bundle answers with is held against what is written, by whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import cfsweep
from cfsweep.bundle.continued import opened
from cfsweep.bundle.writer import ANSWERS, HELD
from cfsweep.errors import InputError
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.bundle.test_state_file import with_other
from tests.conftest import without_program


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        bundle_of(write_tasks(root / "tasks", 2), root / "bundle", "ewc")
    return root / "bundle"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("shift", None, "`shift` is missing, or not of the shape that model.json says"),
        ("shift", torch.zeros(9), r"`shift` must be of float32 and fit an example, \(10,\)"),
        ("scale", torch.zeros(1, 10), r"`scale` must be of float32 and fit an example, \(10,\)"),
        ("scale", torch.tensor(1), r"`scale` must be of float32 and fit an example, \(10,\)"),
        ("masks", torch.ones(2, 2), "`masks` holds no truth values"),
        ("masks", torch.ones(2, 3, dtype=torch.bool), "`masks` is missing, or not of the shape"),
        ("which", torch.tensor([0, 1]), "`which` names weights that are not there"),
        ("which", torch.tensor([0, -1]), "`which` names weights that are not there"),
        ("which", torch.zeros(2), "`which` holds no whole numbers"),
        ("Shift", torch.zeros(()), "`Shift` is nothing that an answer takes"),
        ("unit_shift", torch.zeros(2), "`unit_shift` and `unit_scale` must be a number for each output, or not there"),
        ("weights/head.bias", torch.zeros(1, 3), "`weights/head.bias` must be 1 times the weights of this name"),
        ("weights/no", torch.zeros(1, 3), "`weights/no` must be 1 times the weights of this name"),
        ("held/features", torch.zeros(1, 3), "`held/features` is for a remedy that answers, and this model has none"),
    ],
)
def test_answers_of_another_model(bundle: Path, tmp_path: Path, name: str, value: Tensor | None, said: str) -> None:
    def change(answers: dict[str, Tensor]) -> None:
        answers.pop(name, None)
        if value is not None:
            answers[name] = value

    other = with_other(ANSWERS, bundle, tmp_path / "other", change)
    for read in (cfsweep.load, opened):
        with pytest.raises(InputError, match=rf"answers\.safetensors: {said}"):
            read(other)


@pytest.mark.parametrize("remedy", ["ncm", "slda", "ranpac", "icarl"])
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.flatten(),
        lambda value: torch.cat((value, value), -1),
        lambda value: value.new_zeros(value.shape, dtype=torch.bool),
        lambda value: value.new_empty(0),
    ],
    ids=["flat", "twice as long", "of truth values", "empty"],
)
def test_what_answers_fits_the_network(
    remedy: str, change: Callable[[Tensor], Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_program(monkeypatch)
    bundle_of(write_tasks(tmp_path / "tasks", 2, distinct=True), tmp_path / "bundle", remedy, scenario="class-il")
    assert cfsweep.load(tmp_path / "bundle").outputs(torch.zeros(3, 10), 0).shape == (3, 4)

    def all_changed(answers: dict[str, Tensor]) -> None:
        answers |= {name: change(value) for name, value in answers.items() if name.startswith(HELD)}

    other = with_other(ANSWERS, tmp_path / "bundle", tmp_path / "other", all_changed)
    with pytest.raises(InputError, match=r"other: `held/\.\.\.` does not fit the network \(.+\)\. Export"):
        cfsweep.load(other)
