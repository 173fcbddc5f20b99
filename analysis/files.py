"""Single files of a results folder: reads one, says where one lies, writes one whole."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

import pyarrow.fs as pafs

from analysis.description import Root
from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.results.addresses import above, inside, is_address, name_of
from cfsweep.results.reader import filesystem, read_small
from cfsweep.results.store import FAULTS, Store

Place = TypeVar("Place", Path, str, Path | str)


def file_in(root: Root, name: str) -> bytes | None:
    """The content of one file of a results folder, or None where there is no such file."""
    fs, path = filesystem(root)
    if fs.get_file_info(f"{path}/{name}").type != pafs.FileType.File:
        return None
    return read_small(fs, f"{path}/{name}")


def place_in(root: Root, name: str) -> Path | str:
    """Where a file of a results folder lies: a path, or an address where the folder has one."""
    return inside(root, name) if is_address(root) else Path(root) / name


def write_whole(place: Place, write: Callable[[IO[bytes]], object]) -> Place:
    """Writes a file with `write`, whole or not at all, and returns `place`.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        if is_address(place):
            content = BytesIO()
            write(content)
            Store(above(place)).write(name_of(place), content.getvalue())
        else:
            write_atomically(Path(place), write)
    except FAULTS as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{place}: cannot be written ({why}). Give another place.") from error
    return place
