"""A bundle is whole or not there, whatever the disk and other processes do, and who cannot write hears it early."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cfsweep
from cfsweep.bundle import continue_, load
from cfsweep.bundle.writer import ANSWERS, PROGRAM, STATE, WEIGHTS
from cfsweep.errors import InputError
from cfsweep.training.pack import Pack
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.conftest import Run


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task, and a bundle of a run over the two before."""
    root = tmp_path_factory.mktemp("ground")
    tasks = write_tasks(root / "tasks", 3)
    (tasks / "task-2.npz").rename(root / "task-2.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b""))
        bundle_of(tasks, root / "begun", "ewc")
    return root


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused, is refused before anything is trained."""

    def trains(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Pack, "train_next_task", trains)


@pytest.mark.parametrize("file", [WEIGHTS, ANSWERS, STATE, PROGRAM, "MODEL_CARD.md", "model.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    file: str, ground: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each file on its own: torch would end the process, and safetensors raise an error of its own."""
    opened = Path.open

    def full(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
        if path.name == file and mode[0] == "w":
            return opened(Path("/dev/full"), mode, *given, **named)
        return opened(path, mode, *given, **named)

    monkeypatch.setattr(Path, "open", full)
    code, out, complaints = run("continue", ground / "begun", "--task", ground / "task-2.npz", "--to", "after")
    assert (code, out) == (2, "")
    assert complaints == (
        "cfsweep: after: no space left on device. Make room; `cfsweep resume` and `confirm` go on with theirs, all "
        "else begins anew.\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("with_space", [False, True])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_trained(
    with_space: bool, ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    given: dict[str, Any] = {"space": {"search": {"lr": {"choices": [0.1, 0.2]}}}} if with_space else {}

    def said(to: Path) -> str:
        with pytest.raises(InputError) as caught:
            cfsweep.continue_(ground / "begun", ground / "task-2.npz", to, **given)
        return str(caught.value)

    for below in ("new", "new/one"):
        place = tmp_path / "file" / below
        assert said(place) == f"--to {place}: {tmp_path / 'file'} is no folder. Choose another place."
    assert said(tmp_path / "link") == f"--to {tmp_path / 'link'}: it exists. Choose another folder, or remove it."
    inside = ground / "begun" / "after"
    assert said(inside) == (
        f"--to {inside}: it lies in the bundle {ground / 'begun'}, which stays as it is. Choose another folder."
    )
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert said(tmp_path / "new") == (
        f"--to {tmp_path / 'new'}: nothing can be written in {tmp_path}. Choose another place, or change its rights."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.usefixtures("no_program")
def test_a_folder_that_cannot_be_made_is_one_line(ground: Path) -> None:
    to = Path("/proc/nowhere/after")
    with pytest.raises(InputError, match=rf"^{to}: no such file or directory\. Choose another place") as caught:
        continue_(ground / "begun", ground / "task-2.npz", {}, to)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.usefixtures("no_program")
def test_of_two_at_once_one_is_told_that_the_other_was_first(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, to = Pack.train_next_task, tmp_path / "after"

    def meanwhile(pack: Pack) -> Any:
        monkeypatch.setattr(Pack, "train_next_task", train)
        continue_(ground / "begun", ground / "task-2.npz", {"lr": 0.02}, to)
        return pack.train_next_task()

    monkeypatch.setattr(Pack, "train_next_task", meanwhile)
    with pytest.raises(InputError, match=r"after: it exists\. Choose another folder"):
        continue_(ground / "begun", ground / "task-2.npz", {}, to)
    assert [path.name for path in tmp_path.iterdir()] == ["after"]
    assert load(to).about.settings["lr"] == 0.02


@pytest.mark.usefixtures("no_program")
def test_another_error_of_the_system_is_shown_whole(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No such device"):
        continue_(ground / "begun", ground / "task-2.npz", {}, tmp_path / "after")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_program")
def test_files_of_one_name_are_both_known_by_their_hash(ground: Path, tmp_path: Path) -> None:
    """A task is told again by it, also where its file is called as one before."""
    (tmp_path / "task-1.npz").write_bytes((ground / "task-2.npz").read_bytes())
    about = continue_(ground / "begun", tmp_path / "task-1.npz", {}, tmp_path / "after")
    assert list(about.data_sha256) == ["task-0.npz", "task-1.npz", "task-1.npz (task 2)"]
    assert len({*about.data_sha256.values()}) == 3
    with pytest.raises(InputError, match="has learned it already"):
        continue_(tmp_path / "after", ground / "tasks" / "task-1.npz", {}, tmp_path / "twice")


def test_the_program_that_is_written_can_be_loaded(ground: Path, tmp_path: Path) -> None:
    continue_(ground / "begun", ground / "task-2.npz", {}, tmp_path / "after")
    program = torch.export.load(tmp_path / "after" / PROGRAM).module()
    model = load(tmp_path / "after")
    x = torch.randn(5, *model.about.input_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(program(x), model.outputs(x))
    assert load_file(tmp_path / "after" / WEIGHTS).keys() == model.network().state_dict().keys()
