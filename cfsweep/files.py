"""Writes a file whole or not at all; says which revision the files of a checkout have."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

CACHE_VARIABLE = "CFSWEEP_CACHE"


def cache_folder(kind: str) -> Path:
    """Where files of this kind are kept: a folder of `$CFSWEEP_CACHE`, else of the folder cfsweep of the user's
    cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser() / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cfsweep" / kind


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Calls `write` on a temporary file beside `path`, syncs it, renames it to `path`, and returns `path`.

    A reader sees the old content or the new, never a part; after a crash at most a `.tmp` file is left over.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # a temporary file is its owner's alone
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def git_revision(folder: Path) -> str | None:
    """The commit of the checkout that `folder` lies in (with `+dirty` if it was changed), or None outside of one."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return None
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
