"""A bundle at an address is read as one in a folder, and written there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from safetensors.torch import load_file

import cfsweep
from cfsweep.bundle.manifest import NAME
from cfsweep.bundle.places import delivered, fetched
from cfsweep.bundle.writer import WEIGHTS
from cfsweep.errors import InputError
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.conftest import Run

pytestmark = pytest.mark.usefixtures("no_program")


def test_a_bundle_at_an_address_is_loaded_continued_and_gated(tmp_path: Path, run: Run) -> None:
    tasks = write_tasks(tmp_path / "tasks", 3)
    (tasks / "task-2.npz").rename(tmp_path / "task-2.npz")
    bundle_of(tasks, tmp_path / "here", "ewc")
    (tmp_path / "there").mkdir()
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "first")
    there = (tmp_path / "there").as_uri()
    assert cfsweep.load(f"{there}/first").about == cfsweep.load(tmp_path / "here").about
    model = cfsweep.continue_(f"{there}/first", tmp_path / "task-2.npz", f"{there}/second")
    assert model.about == cfsweep.load(tmp_path / "there" / "second").about
    cfsweep.continue_(tmp_path / "here", tmp_path / "task-2.npz", tmp_path / "second")
    own, theirs = (load_file(tmp_path / folder / WEIGHTS) for folder in ("second", "there/second"))
    assert all((own[name] == theirs[name]).all() for name in own)
    shutil.copy(tmp_path / "task-2.npz", tasks)
    gate = ["gate", "--champion", f"{there}/first", "--candidate", f"{there}/second", "--max-drop", "0.99"]
    code, out, err = run(*gate, "--stream", str(tasks))
    assert (code, err) == (0, "")
    assert "task-1" in out
    again = run("continue", f"{there}/first", "--task", str(tmp_path / "task-2.npz"), "--to", f"{there}/second")
    assert again == (2, "", f"cfsweep: --to {there}/second: it exists. Choose another folder, or remove it.\n")


def test_what_is_wrong_there_is_said_of_the_address(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    address = (tmp_path / "empty").as_uri()
    with pytest.raises(InputError, match=f"^{address}: no model.json there, so it is no bundle"):
        cfsweep.load(address)
    bundle_of(write_tasks(tmp_path / "tasks", 2), tmp_path / "bundle", None)
    (tmp_path / "bundle" / WEIGHTS).write_bytes(b"")
    address = (tmp_path / "bundle").as_uri()
    with pytest.raises(InputError, match=f"^{address}/{WEIGHTS}: it was changed since"):
        cfsweep.load(address)
    with pytest.raises(InputError, match=r"^nothing://here: not a place that can be read"):
        cfsweep.load("nothing://here")


def test_an_address_that_fails_is_one_line_and_what_is_no_bundle_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(pafs, "copy_files", fails)
    (tmp_path / "there").mkdir()
    address = (tmp_path / "there").as_uri()
    with pytest.raises(InputError, match=r"no model\.json there, so it is no bundle"):
        cfsweep.load(address)
    (tmp_path / "there" / NAME).touch()
    with pytest.raises(InputError, match=rf"^{address}: cannot be read \(no answer\)\. Check the URI"):
        cfsweep.load(address)


def test_what_fails_leaves_nothing_there(tmp_path: Path) -> None:
    address = (tmp_path / "to").as_uri()

    def fail() -> None:
        with delivered(address) as local:
            local.mkdir()
            raise InputError(f"{local}/weights: too few.")

    with pytest.raises(InputError, match=f"{address}/weights: too few"):
        fail()
    assert not (tmp_path / "to").exists()


def test_the_file_that_makes_it_a_bundle_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = pafs.copy_files

    def fails_in_the_end(source: str, to: str, *systems: pafs.FileSystem) -> None:
        if source.endswith("/z"):
            raise OSError("no more")
        copy(source, to, *systems)

    monkeypatch.setattr(pafs, "copy_files", fails_in_the_end)

    def write() -> None:
        with delivered((tmp_path / "to").as_uri()) as here:
            here.mkdir()
            for name in (NAME, "a", "z"):
                (here / name).write_text(name)

    with pytest.raises(InputError, match=r"cannot be written \(no more\)"):
        write()
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a"]


def test_a_place_that_cannot_be_asked_is_told_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def get_file_info(self, path: str) -> None:
            raise OSError(f"no answer about {path}")

    monkeypatch.setattr("cfsweep.bundle.places.filesystem", lambda to: (Silent(), "bucket/to"))
    with pytest.raises(InputError, match=r"^--to s3://bucket/to: cannot be written \(no answer about bucket/to\)"):
        delivered("s3://bucket/to").__enter__()


def test_a_folder_of_this_machine_is_itself(tmp_path: Path) -> None:
    with fetched(tmp_path) as here:
        assert here == tmp_path
    with delivered(str(tmp_path / "new")) as here:
        assert here == tmp_path / "new"
    with pytest.raises(InputError, match="it exists"):
        delivered(tmp_path).__enter__()
