"""Files that are made once: where they lie, that damaged ones are made again, and that nothing is left half-written."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.files import cache_folder
from cfsweep.training.streams._cache import cached_array, mapped


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path))
    return tmp_path


class Maker:
    def __init__(self) -> None:
        self.calls = 0

    def fill(self, array: Any) -> None:
        self.calls += 1
        array[:] = np.arange(6).reshape(3, 2)

    def get(self, shape: tuple[int, ...] = (3, 2)) -> tuple[Path, str]:
        return cached_array("kind", "key", shape, np.float32, self.fill)


def test_where_it_lies(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("tables") == cache / "tables"
    monkeypatch.delenv("CFSWEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "xdg"))
    assert cache_folder("tables") == cache / "xdg" / "cfsweep" / "tables"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("tables") == Path.home() / ".cache" / "cfsweep" / "tables"


@pytest.mark.parametrize("hashed", [2**24, 8], ids=["whole", "in pieces"])
def test_it_is_made_once_and_again_where_it_is_damaged(hashed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfsweep.training.streams._cache._HASHED", hashed)
    maker = Maker()
    path, digest = maker.get()
    assert torch.equal(mapped(path), torch.arange(6.0).reshape(3, 2))
    assert (maker.get(), maker.calls) == ((path, digest), 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for damaged in (content, content[:-4], b""):
        path.write_bytes(damaged)
        before = maker.calls
        assert maker.get() == (path, digest)
        assert maker.calls == before + 1
    assert [one.name for one in path.parent.iterdir()] == [f"key-{digest}.npy"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_nothing_is_left_of_what_was_not_finished(cache: Path, error: BaseException) -> None:
    def fail(array: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        cached_array("kind", "key", (3, 2), np.float32, fail)
    assert list((cache / "kind").iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_another_one_makes_stays(cache: Path) -> None:
    folder = cache / "kind"
    folder.mkdir()
    (folder / ".left.npy").write_bytes(b"half")
    with (folder / ".made.npy").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path, _ = Maker().get()
    assert {one.name for one in folder.iterdir()} == {".made.npy", path.name}


def test_a_source_that_cannot_be_read_is_not_taken_for_the_cache(cache: Path) -> None:
    def fail(array: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "there/part.npz")

    with pytest.raises(InputError, match=r"^there/part.npz: it cannot be read \(input/output error\)"):
        cached_array("kind", "key", (3, 2), np.float32, fail)
    assert list((cache / "kind").iterdir()) == []


def test_a_damaged_file_in_a_cache_that_cannot_be_written_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = Maker().get()
    path.write_bytes(b"")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match=r"kind \(the cache of kind; CFSWEEP_CACHE names another place\): read-only"):
        Maker().get()


def test_a_full_disk_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cfsweep.training.streams._cache.os.posix_fallocate", full)
    with pytest.raises(InputError, match=r"kind \(the cache of kind; CFSWEEP_CACHE names another place\): no space"):
        Maker().get()
    assert list((cache / "kind").iterdir()) == []
