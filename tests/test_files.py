"""A file is there whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from cfsweep.errors import InputError
from cfsweep.files import append_whole, expanded, hold, write_atomically


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


def test_an_interrupt_as_a_file_gets_its_name_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def interrupted(old: str, new: Path) -> None:
        replace(old, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_an_interrupt_keeps_from_the_disk_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_whole(tmp_path / "a", b"one\n", 0)

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        append_whole(tmp_path / "a", b"two\n", 4)
    assert (tmp_path / "a").read_bytes() == b"one\n"


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "one").open("w") as one, (tmp_path / "one").open("w") as other:
        assert hold(one, tmp_path)
        assert not hold(other, tmp_path)

        def unknown(handle: object, how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", unknown)
        with pytest.raises(InputError, match=r"its file system knows no locks \(No locks available\)"):
            hold(one, tmp_path)


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
