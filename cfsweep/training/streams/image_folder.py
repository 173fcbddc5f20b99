"""Your own stream as a folder of images, PNG or JPEG, in a folder for each class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few, unknown
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._image_files import Source
from cfsweep.training.streams._image_layout import Found, Layout, found_in
from cfsweep.training.streams._image_stream import ImageArgs, LabelledImage, image_stream


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
    folder = Path(config.name).expanduser()
    return image_stream(config, [_labelled(one, folder) for one in found_in(folder, layout, where)], args)


def task_of_images(config: StreamConfig) -> Stream:
    """The stream of the one task that the folder `config.name` holds: the images of its classes, or those of a `train`
    and a `test` folder. It is called as the folder; `config.args` are `size` and `mode`.

    Raises:
        InputError: as for `from_images`, or the folders say several tasks.
    """
    where = f"--task {config.name}"
    _refuse_latest(config, where)
    folder = Path(config.name).expanduser().absolute()
    found = found_in(folder, None, where)
    if several := list(dict.fromkeys(one.task for one in found if one.task)):
        raise InputError(f"{where}: one task is learned at a time, but it holds {few(several)}. Give one of them.")
    images = [replace(_labelled(one, folder), task=folder.name) for one in found]
    return image_stream(config, images, ImageArgs.of(config.args, (), where))


def _refuse_latest(config: StreamConfig, where: str) -> None:
    if config.validation == "latest":
        raise InputError(
            f"{where}: `validation=latest` goes by the order of examples in time, but files lie in that of their "
            "classes. Take `random`."
        )


def _labelled(found: Found, folder: Path) -> LabelledImage:
    source = Source(found.path.relative_to(folder).as_posix(), found.path.read_bytes)
    return LabelledImage(source, found.label, found.task, found.part, found.path.name)
