"""The state of a trainer from outside, as bytes that can go to another machine, and back."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cfsweep.training.outside.function import State

Kind = Literal["none", "bytes", "folder"]


@dataclass(frozen=True)
class Saved:
    """A state: none, bytes, or a folder as an archive (tar, uncompressed) of its files."""

    kind: Kind = "none"
    content: bytes = b""


def saved(state: State) -> Saved:
    """`state` with a copy of all that is in it.

    A folder is left as it is, unless it was made by `tempfile.mkdtemp`: nobody would remove that one later.

    >>> saved(b"weights"), saved(None)
    (Saved(kind='bytes', content=b'weights'), Saved(kind='none', content=b''))
    """
    if state is None:
        return Saved()
    if isinstance(state, bytes):
        return Saved("bytes", state)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        archive.add(state, arcname=".", filter=_plain)
    if _is_throwaway(state):
        shutil.rmtree(state)
    return Saved("folder", file.getvalue())


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without whose it is and when it was written: equal folders give equal bytes."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _is_throwaway(folder: Path) -> bool:
    """Whether `tempfile.mkdtemp()` has made the folder, to judge by its place and name."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith(tempfile.gettempprefix())


@contextmanager
def handed(state: Saved) -> Iterator[State]:
    """The state as a function takes it: a folder is a fresh one, and gone afterwards."""
    if state.kind != "folder":
        yield state.content if state.kind == "bytes" else None
        return
    with tempfile.TemporaryDirectory(prefix="cfsweep-state-") as folder:
        unpack(state, Path(folder))
        yield Path(folder)


def unpack(state: Saved, into: Path) -> None:
    """Writes the files of a folder that was saved."""
    with tarfile.open(fileobj=io.BytesIO(state.content)) as archive:
        archive.extractall(into, filter="data")
