"""What a case is: files that are damaged, and the command that reads them."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.fuzz.templates import needed


@dataclass(frozen=True)
class Edit:
    """One change, in words: of the files in a folder, or of the command line, to which `args` are added."""

    about: str
    files: Callable[[Path], object] | None = None
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """`cfsweep ARGS` in a folder with `uses` of the templates, after the edits; `writes` is what it is to write."""

    kind: str
    args: tuple[str, ...]
    uses: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    writes: str | None = None
    after: Callable[[Path], object] | None = None  # the edits

    @property
    def command_line(self) -> tuple[str, ...]:
        return (*self.args, *(part for edit in self.edits for part in edit.args))

    def lay(self, templates: Path, folder: Path) -> None:
        """Puts the files there."""
        folder.mkdir(parents=True)
        for name in self.uses:
            source, target = needed(templates, name), folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        for edit in self.edits:
            if edit.files is not None:
                edit.files(folder)
        if self.after is not None:
            self.after(folder)

    def without(self, edit: Edit) -> Case:
        return replace(self, edits=tuple(other for other in self.edits if other is not edit))


def other_thing(rng: random.Random, name: str) -> Edit:
    """What is no file, or no such one, in the place of a file."""
    way = rng.choice(sorted(THINGS))
    return Edit(f"{name}: {way}", lambda folder: thing(folder / name, way))


THINGS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to its folder": lambda path: path.symlink_to(path.parent),
    "a socket": lambda path: _socket(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "of zeros": lambda path: path.write_bytes(bytes(100_000)),
    "a hole of 2**30 bytes": lambda path: (path.touch(), os.truncate(path, 2**30)),
    "text": lambda path: path.write_text("hello\n" * 10),
}


def thing(path: Path, way: str) -> None:
    """Puts it there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    THINGS[way](path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def file_edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, change((folder / name).read_bytes()))


def tree_edit(name: str, about: str, change: Callable[[Any], Any]) -> Edit:
    """Noted in a file beside, as all of them change one tree, which is written once."""
    return Edit(f"{Path(name).name}: {about}", lambda folder: _trees.setdefault(str(folder / name), []).append(change))


_trees: dict[str, list[Callable[[Any], Any]]] = {}


def from_tree(
    name: str, content: Any, as_text: Callable[[Any], bytes], finish: Callable[[Any], Any] | None = None
) -> Callable[[Path], None]:
    def lay(folder: Path) -> None:
        tree = json.loads(json.dumps(content))
        for change in _trees.pop(str(folder / name), []):
            tree = change(tree)
        write(folder / name, as_text(finish(tree) if finish else tree))

    return lay
