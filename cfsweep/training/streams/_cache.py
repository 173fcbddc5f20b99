"""What is made of a user's data once and lies on the disk from then on, checked whenever it is opened.

It is a cache: `CFSWEEP_CACHE`, or else the folder `cfsweep` of the user's cache. A file in it is called by the SHA-256
of all that it depends on, and by that of what it holds. Nothing is lost with the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from cfsweep.errors import InputError, first_line, not_written
from cfsweep.files import CACHE_VARIABLE, cache_folder

IN_MEMORY_BYTES = 2**30  # of examples, and of the texts of a CSV file; what takes more lies on the disk
_HASHED = 2**24  # bytes at a time


def is_large(n_bytes: int) -> bool:
    """Whether so much is to lie on the disk rather than in memory."""
    return n_bytes > IN_MEMORY_BYTES


def cached_file(
    kind: str, key: str, suffix: str, digest_of: Callable[[Path], str | None], write: Callable[[Path], object]
) -> tuple[Path, str]:
    """The file called by `key`, and the digest of what it holds; unless it is there whole, `write` makes it.

    `digest_of` gives the digest of a file, None where it holds no such thing. Processes may make the same file at the
    same time: each writes one of its own and renames it, so that a reader finds a whole one.

    Raises:
        InputError: the cache cannot be written to.
    """
    folder = cache_folder(kind)
    damaged = []
    for path in folder.glob(f"{key}-*{suffix}"):
        found = digest_of(path)
        if found is not None and path.stem == f"{key}-{found}":
            return path, found
        damaged.append(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*damaged, *_left_behind(folder, suffix)):
            path.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=suffix)
        scratch = Path(name)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # for as long as this process makes it
            write(scratch)
            digest = digest_of(scratch)
            scratch.chmod(0o644)
            return scratch.replace(folder / f"{key}-{digest}{suffix}"), str(digest)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        if error.filename is not None and not Path(str(error.filename)).is_relative_to(
            folder
        ):  # what is read meanwhile
            said = (error.strerror or first_line(error)).lower()
            raise InputError(f"{error.filename}: it cannot be read ({said}). Mend it, or bring it back.") from error
        error.filename = f"{folder} (the cache of {kind}; {CACHE_VARIABLE} names another place)"
        raise not_written(error) from error


def _left_behind(folder: Path, suffix: str) -> list[Path]:
    """What processes began and did not end: they hold no lock on it any more."""
    found = []
    for path in folder.glob(f".*{suffix}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(path)
    return found


def cached_array(
    kind: str, key: str, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[NDArray[Any]], object]
) -> tuple[Path, str]:
    """The file with the array of this shape that `key` names, and the SHA-256 of its bytes; `fill` gets it to write
    into where there is none. Raises as `cached_file`."""

    def write(path: Path) -> None:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # else a disk that gets full would end the process, without an error
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
        fill(array)
        array.flush()

    return cached_file(kind, key, ".npy", lambda path: _array_digest(path, shape, dtype), write)


def mapped(path: str | Path) -> Tensor:
    """The array in a file of the cache. Its pages are those of all processes that map it, and are read when they are
    looked at."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # "c": torch wants it writable; nobody writes


def _array_digest(path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> str | None:
    """The SHA-256 of the array in a file; None where there is no such array."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if array.shape != shape or array.dtype != dtype:
        return None
    total, flat = hashlib.sha256(), array.reshape(-1).view(np.uint8)
    for at in range(0, len(flat), _HASHED):
        total.update(flat[at : at + _HASHED].data)
    return total.hexdigest()
