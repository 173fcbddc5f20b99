"""Writes a file whole or not at all. (`cfsweep.results.writer` belongs to the sweep; analysis may only read there.)"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from cfsweep.errors import InputError


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Calls `write` on a temporary file beside `path`, syncs it, renames it to `path`, and returns `path`.

    A reader sees the old content or the new one, never a part.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Give another place.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            # mkstemp gives 0600; a report is for whoever may read the folder.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
