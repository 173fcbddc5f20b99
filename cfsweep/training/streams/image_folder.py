"""Your own stream as a folder of images, PNG or JPEG, in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few, unknown
from cfsweep.files import expanded, open_regular
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._image_files import SUFFIXES, Source
from cfsweep.training.streams._image_layout import Found, Layout, found_in, images_below
from cfsweep.training.streams._image_store import all_known, all_pixels
from cfsweep.training.streams._image_stream import ImageArgs, LabelledImage, image_stream

_BLOCK = 1024  # images that are in memory at once


def from_images(config: StreamConfig) -> Stream:
    """The stream of the images (channels, height, width) uint8 in the folder `config.name`, which lie as
    `_image_layout.found_in` says.

    `config.args`: `size`, `mode` and `tasks` as in `ImageArgs`; `layout`, `classes` or `tasks`, says what the folders
    of the upper level are where that is not meant by their names.

    Raises:
        InputError: folders, images or arguments break a rule.
    """
    where = f"stream `{config.name}`"
    args, layout = ImageArgs.of(config.args, ("layout",), where), config.args.get("layout")
    if layout is not None and layout not in get_args(Layout):
        raise unknown(f"{where}, layout", "value", str(layout), get_args(Layout))
    _refuse_latest(config, where)
    folder = expanded(config.name)
    return image_stream(config, [_labelled(one, folder) for one in found_in(folder, layout, where)], args)


def task_of_images(config: StreamConfig) -> Stream:
    """The stream of the one task that the folder `config.name` holds: the images of its classes, or those of a `train`
    and a `test` folder. It is called as the folder; `config.args` are `size` and `mode`.

    Raises:
        InputError: as for `from_images`, or the folders say several tasks.
    """
    where = f"--task {config.name}"
    _refuse_latest(config, where)
    folder = expanded(config.name).absolute()
    found = found_in(folder, None, where)
    if several := list(dict.fromkeys(one.task for one in found if one.task)):
        raise InputError(f"{where}: one task is learned at a time, but it holds {few(several)}. Give one of them.")
    images = [replace(_labelled(one, folder), task=folder.name) for one in found]
    return image_stream(config, images, ImageArgs.of(config.args, (), where))


def pixels_below(
    folder: Path, shape: tuple[int, ...], args: Mapping[str, Any]
) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Blocks of the images in a folder and in those within it, in natural order: their files, relative to it, and their
    pixels (n, *shape), (channels, height, width), read as those of a stream with these `args`. An image of another size
    or kind is one that `size` or `mode` bring to the shape.

    Raises:
        InputError: there is none, one is damaged, or nothing says that one of another size or kind may be changed.
    """
    where = f"folder {folder}"
    sources = [Source(path.relative_to(folder).as_posix(), partial(_content, path)) for path in images_below(folder)]
    if not sources:
        raise InputError(f"{where}: no images are there ({', '.join(SUFFIXES)}). Name the folder that holds some.")
    channels, height, width = shape
    for source, known in zip(sources, all_known(sources, where), strict=True):
        if args.get("size") is None and (known.height, known.width) != (height, width):
            raise InputError(
                f"{where}, {source.name}: the model was trained on images of {height} x {width} pixels (height x "
                f"width), but it has {known.height} x {known.width}. Resize it."
            )
        if args.get("mode") is None and (known.mode == "grey") != (channels == 1):
            other = "grey" if channels == 1 else "rgb"
            raise InputError(
                f"{where}, {source.name}: the model was trained on {other} images, but it is {known.mode}. Convert it."
            )
    for at in range(0, len(sources), _BLOCK):
        some = sources[at : at + _BLOCK]
        yield [source.name for source in some], all_pixels(some, (channels, height, width), where)


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def _refuse_latest(config: StreamConfig, where: str) -> None:
    if config.validation == "latest":
        raise InputError(
            f"{where}: `validation=latest` goes by the order of examples in time, but files lie in that of their "
            "classes. Take `random`."
        )


def _labelled(found: Found, folder: Path) -> LabelledImage:
    source = Source(found.path.relative_to(folder).as_posix(), partial(_content, found.path))
    return LabelledImage(source, found.label, found.task, found.part, found.path.name)
