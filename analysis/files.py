"""Writes what analysis makes; a folder that cannot be written to is the user's to know, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from cfsweep.errors import InputError
from cfsweep.files import write_atomically


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """`write_atomically`.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        return write_atomically(path, write)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Give another place.") from error
