"""Writes a file whole or not at all; says which revision the files of a checkout have."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import IO


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


def expanded(path: str | Path) -> Path:
    """The path with `~` as the user's home; one of nobody, as it stands.

    >>> expanded("~nosuchuser/x").name
    'x'
    """
    return Path(os.path.expanduser(path))


def open_regular(path: Path) -> BufferedReader:
    """A file, open to be read; to open a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: there is none, it cannot be read, or it is something else.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise PermissionError(errno.EACCES, "A pipe, socket or device, and no file", str(path))
    return open(handle, "rb")


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
