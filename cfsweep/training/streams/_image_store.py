"""The pixels of many images as one array on the disk, read once and mapped into memory from then on.

The array is a file of NumPy's in the cache, see `_cache.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cfsweep.machine import cpus
from cfsweep.training.streams._cache import cached_array
from cfsweep.training.streams._image_files import Known, Source, known_of, pixels_of

_FORMAT = 1  # of how pixels come from files; another one has other names
_AT_ONCE = 256  # images that are read before they are written
_Read = TypeVar("_Read")


def all_known(sources: Sequence[Source], where: str) -> list[Known]:
    """What is known of each image. Raises as `known_of`."""
    return list(_in_threads(partial(known_of, where=where), sources))


def all_pixels(sources: Sequence[Source], shape: tuple[int, int, int], where: str) -> NDArray[np.uint8]:
    """The pixels (n, *shape) of the images. Raises as `pixels_of`."""
    return np.stack(list(_in_threads(partial(pixels_of, shape=shape, where=where), sources)))


def mapped_pixels(
    sources: Sequence[Source], known: Sequence[Known], shape: tuple[int, int, int], where: str
) -> tuple[Path, str]:
    """The file with the pixels (n, *shape) uint8 of the images, and their SHA-256; it is made unless it is there whole.

    Raises:
        InputError: an image is damaged, or the cache cannot be written to.
    """

    def fill(array: NDArray[np.uint8]) -> None:
        for place, pixels in enumerate(_in_threads(partial(pixels_of, shape=shape, where=where), sources)):
            array[place] = pixels

    return cached_array("images", _key(known, shape), (len(sources), *shape), np.uint8, fill)


def _key(known: Sequence[Known], shape: tuple[int, int, int]) -> str:
    from PIL import __version__ as pillow

    total = hashlib.sha256(json.dumps([_FORMAT, pillow, len(known), shape]).encode())
    for one in known:
        total.update(one.sha256)
    return total.hexdigest()[:32]


def _in_threads(read: Callable[[Source], _Read], sources: Sequence[Source]) -> Iterator[_Read]:
    """What is read of each, in order. Hashing and decoding let other threads work."""
    with ThreadPoolExecutor(cpus()) as threads:
        for at in range(0, len(sources), _AT_ONCE):  # no more than these wait in memory
            yield from threads.map(read, sources[at : at + _AT_ONCE])
