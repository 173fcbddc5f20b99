"""What a bundle keeps for its next task is held against what is written, before anything is made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cfsweep.bundle.continued import opened
from cfsweep.bundle.manifest import NAME, STATE, sha256
from cfsweep.errors import InputError
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.conftest import without_program

KEPT = "replay/buffer"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        bundle_of(write_tasks(root / "tasks", 2), root / "bundle", "replay", optimizer_state="kept")
    write_tasks(root / "more", 3)
    return root / "bundle"


def with_other(file: str, bundle: Path, to: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    """A copy of the bundle with other tensors in a file, whose SHA-256 is noted."""
    shutil.copytree(bundle, to)
    tensors = load_file(to / file)
    change(tensors)
    save_file(tensors, to / file)
    about = json.loads((to / NAME).read_text())
    about["files"][file] = sha256(to / file)
    (to / NAME).write_text(json.dumps(about))
    return to


def with_state(bundle: Path, to: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    return with_other(STATE, bundle, to, change)


def test_what_was_written_is_read(bundle: Path) -> None:
    assert opened(bundle).state.keys() == load_file(bundle / STATE).keys()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("y", lambda y: y + 32, r"`replay/buffer/y` must have classes of each example's own task, but has 3[23] in"),
        ("y", Tensor.float, r"`replay/buffer/y` must be 9 classes, but is \(9,\) float32"),
        ("task", lambda task: task - 1, r"`replay/buffer/task` must have numbers of the 2 tasks, from 0"),
        ("task", lambda task: task[1:], r"`replay/buffer/task` must be 9 whole numbers, but is \(8,\) int64"),
        ("x", lambda x: x[:, 1:], r"`replay/buffer/x` must be 9 examples of \(10,\) float32, but is \(9, 9\) float32"),
        ("x", Tensor.double, r"`replay/buffer/x` must be 9 examples of \(10,\) float32, but is \(9, 10\) float64"),
        ("place", lambda place: place[:1].squeeze(), r"`replay/buffer/place` must be 0 whole numbers, but is \(\)"),
        ("n", lambda n: n + 1, r"`replay/buffer/place` must have 10 numbers, as `replay/buffer/n` says, but has 9"),
        ("offered", lambda n: -n, r"`replay/buffer/offered` must be one whole number from 0 on"),
        ("place", None, r"`replay/buffer/place` is missing"),
        ("offered", None, r"`replay/buffer/offered` is missing"),
    ],
)
def test_what_was_kept_of_another_model(
    bundle: Path, tmp_path: Path, name: str, change: Callable[[Tensor], Tensor] | None, said: str
) -> None:
    def edit(state: dict[str, Tensor]) -> None:
        value = state.pop(f"{KEPT}/{name}")
        if change is not None:
            state[f"{KEPT}/{name}"] = change(value).contiguous()

    with pytest.raises(InputError, match=said):
        opened(with_state(bundle, tmp_path / "other", edit))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("replay/buffer/Place", torch.zeros(9), "`replay/buffer/Place` is nothing that a remedy of this model keeps"),
        ("ewc/state/anchor", torch.zeros(9), "`ewc/state/anchor` is nothing that a remedy of this model keeps"),
        ("optimizer_steps", torch.zeros(3), "`optimizer_steps` must be one whole number from 0 on"),
        (f"{KEPT}/logits", torch.zeros(9, 5), r"`replay/buffer/logits` must be 9 x 2 float32, but is \(9, 5\) float32"),
        (f"{KEPT}/offered_by_class", torch.tensor([1, -1]), r"`replay/buffer/offered_by_class` must count 2 classes"),
    ],
)
def test_what_nobody_keeps(bundle: Path, tmp_path: Path, name: str, value: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(with_state(bundle, tmp_path / "other", lambda state: state.update({name: value})))


@pytest.mark.parametrize("name", ["optimizer/mean", "optimizer/Mean"])
def test_what_another_optimizer_has_kept(bundle: Path, tmp_path: Path, name: str) -> None:
    other = with_state(bundle, tmp_path / "other", lambda state: state.update({name: state.pop("optimizer/mean")[:-1]}))
    with pytest.raises(InputError, match=r"what `adam` has kept \((M|m)ean, square\) does not fit it\. Begin afresh"):
        opened(other).own_pack(bundle.parent / "more" / "task-2.npz", {})
