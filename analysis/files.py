"""Single files of a results folder: reads one, says where one may be written, writes one whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

import pyarrow.fs as pafs

from analysis.description import Root
from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.results.reader import filesystem, read_small


def file_in(root: Root, name: str) -> bytes | None:
    """The content of one file of a results folder, or None where there is no such file."""
    fs, path = filesystem(root)
    if fs.get_file_info(f"{path}/{name}").type != pafs.FileType.File:
        return None
    return read_small(fs, f"{path}/{name}")


def local_folder(root: Root) -> Path:
    """`root` as a path to write to.

    Raises:
        InputError: `root` is remote; analysis only reads there.
    """
    fs, path = filesystem(root)
    if not isinstance(fs, pafs.LocalFileSystem):
        raise InputError(f"{root}: analysis reads remote folders but writes local ones. Give a local file, or copy it.")
    return Path(path)


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Writes a file with `write` as `cfsweep.files.write_atomically` does, and returns `path`.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        return write_atomically(path, write)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Give another place.") from error
