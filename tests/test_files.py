"""A file is there whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import pytest

from cfsweep.errors import InputError
from cfsweep.files import expanded, write_atomically


def test_a_write_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def half(file: IO[bytes]) -> None:
        file.write(b"half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(tmp_path / "runs" / "a.parquet", half)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_write_that_raises_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, lambda file: file.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda file: file.write(b"new") and 1 / 0)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_an_interrupt_leaves_nothing_either(tmp_path: Path) -> None:
    def interrupted(file: IO[bytes]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or sync(handle))
    monkeypatch.setattr(os, "replace", lambda a, b: order.append("rename") or replace(a, b))
    write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert order == ["fsync", "rename", "fsync"], "the file, its name, then the folder that holds the name"


def test_it_is_as_readable_as_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    written = write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_path_holds_no_nul() -> None:
    with pytest.raises(InputError, match=r"^'a\\x00b': a path holds no character NUL\. Give another\.$"):
        expanded("a\0b")
