"""One image in a file of its own: what is known of it, and its pixels, by Pillow."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cfsweep.errors import InputError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
Mode = Literal["grey", "rgb"]
_MODES: dict[str, Mode] = {
    **dict.fromkeys(("1", "L", "LA", "La"), "grey"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"), "rgb"),
}  # Pillow's, of 8 bits a value


@dataclass(frozen=True)
class Source:
    """Where an image's file is from: what it is called in what the user is told, and what reads its bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Known:
    """What the bytes of an image tell before its pixels are read. `sha256` is that of the bytes."""

    sha256: bytes
    height: int
    width: int
    mode: Mode


def known_of(source: Source, where: str) -> Known:
    """What is known of an image.

    Raises:
        InputError: it cannot be read, is no image, or has more than 8 bits a value.
    """
    content = _content(source, where)
    image = _opened(content, source, where)
    if image.mode not in _MODES:
        raise InputError(
            f"{where}, {source.name}: images of 8 bits a value are read, but it is of Pillow's mode {image.mode}. "
            "Convert it."
        )
    return Known(hashlib.sha256(content).digest(), image.height, image.width, _MODES[image.mode])


def pixels_of(source: Source, shape: tuple[int, int, int], where: str) -> NDArray[np.uint8]:
    """The pixels (channels, height, width) of `shape`, with one channel of grey or three of red, green and blue.

    An image of another size is resized, so that it just covers this one, and cut out of the middle, as torchvision's
    `Resize` and `CenterCrop` do one after the other. What is transparent is seen as if it were not; how a camera was
    held (EXIF) has no say.

    Raises:
        InputError: it is damaged.
    """
    channels, height, width = shape
    image = _opened(_content(source, where), source, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, about transparency that is dropped
            image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = _covering(image, height, width)
    except Exception as error:  # a damaged file can raise nearly anything
        raise _damaged(source, where, error) from error
    return np.ascontiguousarray(np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1))


def covering_size(height: int, width: int, to: tuple[int, int]) -> tuple[int, int]:
    """The smallest size in the proportions of (height, width) that covers `to`; the longer side is rounded down.

    >>> covering_size(100, 200, (50, 50)), covering_size(30, 31, (64, 32))
    ((50, 100), (64, 66))
    """
    if to[0] * width >= to[1] * height:
        return to[0], to[0] * width // height
    return to[1] * height // width, to[1]


def _covering(image: Image, height: int, width: int) -> Image:
    from PIL.Image import Resampling

    rows, columns = covering_size(image.height, image.width, (height, width))
    if image.size != (columns, rows):
        image = image.resize((columns, rows), Resampling.BILINEAR)
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    return image.crop((left, top, left + width, top + height))


def _content(source: Source, where: str) -> bytes:
    try:
        return source.read()
    except OSError as error:
        said = (error.strerror or first_line(error)).lower()
        raise InputError(f"{where}, {source.name}: it cannot be read ({said}). Mend or drop it.") from error


def _opened(content: bytes, source: Source, where: str) -> Image:
    """The image, its pixels not yet read."""
    from PIL import Image  # a slow import

    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:
        raise _damaged(source, where, error) from error


def _damaged(source: Source, where: str, error: Exception) -> InputError:
    return InputError(
        f"{where}, {source.name}: the image is damaged or not what its name says ({type(error).__name__}). "
        "Replace or drop it."
    )
