"""The pixels of many images as one array on the disk, read once and mapped into memory from then on.

The array is a file of NumPy's in a cache: `CFSWEEP_CACHE`, or else the folder `cfsweep` of the user's cache. It is
called by the SHA-256 of all that its pixels depend on, and by that of the pixels. Nothing is lost with the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.errors import not_written
from cfsweep.training.streams._image_files import Known, Source, known_of, pixels_of

CACHE_VARIABLE = "CFSWEEP_CACHE"
_FORMAT = 1  # of how pixels come from files; another one has other names
_AT_ONCE = 256  # images that are read before they are written
_HASHED = 2**24  # bytes at a time
_Read = TypeVar("_Read")


def all_known(sources: Sequence[Source], where: str) -> list[Known]:
    """What is known of each image. Raises as `known_of`."""
    return list(_in_threads(partial(known_of, where=where), sources))


def mapped_pixels(
    sources: Sequence[Source], known: Sequence[Known], shape: tuple[int, int, int], where: str
) -> tuple[Path, str]:
    """The file with the pixels (n, *shape) uint8 of the images, and their SHA-256; it is made unless it is there whole.

    Raises:
        InputError: an image is damaged, or the cache cannot be written to.
    """
    folder, key = _cache() / "images", _key(known, shape)
    for path in folder.glob(f"{key}-*.npy"):
        found = _digest_of(path, (len(sources), *shape))
        if found is not None and path.stem == f"{key}-{found}":
            return path, found
        path.unlink(missing_ok=True)  # damaged: it is made again
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".npy", delete=False) as file:
            scratch = Path(file.name)
            try:
                digest = _write(file, sources, shape, where)
                file.close()
                scratch.chmod(0o644)
                return scratch.replace(folder / f"{key}-{digest}.npy"), digest
            except BaseException:
                scratch.unlink(missing_ok=True)
                raise
    except OSError as error:
        error.filename = f"{folder} (the cache of images; {CACHE_VARIABLE} names another place)"
        raise not_written(error) from error


def mapped(path: str | Path) -> Tensor:
    """The array in a file of the cache. Its pages are those of all processes that map it, and are read when they are
    looked at."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))  # "c": torch wants it writable; nobody writes


def _cache() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cfsweep"


def _key(known: Sequence[Known], shape: tuple[int, int, int]) -> str:
    from PIL import __version__ as pillow

    total = hashlib.sha256(json.dumps([_FORMAT, pillow, len(known), shape]).encode())
    for one in known:
        total.update(one.sha256)
    return total.hexdigest()[:32]


def _write(file: IO[bytes], sources: Sequence[Source], shape: tuple[int, int, int], where: str) -> str:
    """Writes the array, and gives the SHA-256 of its bytes."""
    head = {"descr": "|u1", "fortran_order": False, "shape": (len(sources), *shape)}
    np.lib.format.write_array_header_2_0(file, head)
    total = hashlib.sha256()
    for pixels in _in_threads(partial(pixels_of, shape=shape, where=where), sources):
        content = pixels.tobytes()
        total.update(content)
        file.write(content)
    return total.hexdigest()


def _in_threads(read: Callable[[Source], _Read], sources: Sequence[Source]) -> Iterator[_Read]:
    """What is read of each, in order. Hashing and decoding let other threads work."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for at in range(0, len(sources), _AT_ONCE):  # no more than these wait in memory
            yield from threads.map(read, sources[at : at + _AT_ONCE])


def _digest_of(path: Path, shape: tuple[int, ...]) -> str | None:
    """The SHA-256 of the array in a file; None where there is no such array."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if array.shape != shape or array.dtype != np.uint8:
        return None
    total, flat = hashlib.sha256(), array.reshape(-1)
    for at in range(0, len(flat), _HASHED):
        total.update(flat[at : at + _HASHED].data)
    return total.hexdigest()
