"""Which images lie in a folder, and what the folders that they lie in say of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cfsweep.errors import InputError, few
from cfsweep.training.streams._image_files import SUFFIXES

Layout = Literal["classes", "tasks"]
Part = Literal["", "train", "test"]
PARTS: dict[str, Part] = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
_LEFT_BEHIND = {"thumbs.db", "desktop.ini", "__macosx"}  # by other systems
_SAID_BESIDE = {".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".html"}  # about images, and none
_MOST_LEVELS = 3


@dataclass(frozen=True)
class Found:
    """The file of one image: its class, its task where a folder names one, and its part where one does."""

    path: Path
    label: str
    task: str = ""
    part: Part = ""


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """What sorts names as people do, numbers in them by their value.

    >>> sorted(["task-10", "task-2", "b", "A", "7"], key=natural)
    ['7', 'A', 'b', 'task-2', 'task-10']
    """
    pieces = re.split(r"(\d+)", name)
    return (*((0, int(p), "") if k % 2 else (1, 0, p.lower()) for k, p in enumerate(pieces) if p), (2, 0, name))


def holds_images(folder: Path) -> bool:
    """Whether a folder is one of images: there are some in it, or in folders within it, and no files of tasks."""
    children = [path for path in folder.iterdir() if not _hidden(path)]
    near = [*children, *(path for child in children if child.is_dir() for path in child.iterdir())]
    if any(path.suffix.lower() in (".npz", ".parquet") for path in near):
        return False
    below = (Path(name) for _, _, names in os.walk(folder, followlinks=True) for name in names)
    return any(is_image(path) and not _hidden(path) for path in below)


def images_below(folder: Path) -> list[Path]:
    """All images in a folder and in those within it, in natural order; what is hidden, and whatever is no image, is
    passed over."""
    found: list[Path] = []
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _hidden(Path(name))]
        found += [Path(at, name) for name in names if is_image(Path(name)) and not _hidden(Path(name))]
    return sorted(found, key=lambda path: [natural(part) for part in path.relative_to(folder).parts])


def found_in(folder: Path, layout: Layout | None, where: str) -> list[Found]:
    """The images of a folder, sorted by task, part, class and name. Its folders are

        class/...          train/class/...  test/class/...          task/class/...          task/train/class/... ...

    where `val` or `validation` may stand for `test`. Of two levels the upper one is of parts if its folders are called
    so, and else of tasks; `layout` says which where that is not meant. What is hidden, and what other systems leave
    behind, is passed over.

    Raises:
        InputError: folders are not of one kind, a class is empty, or a file in one is no image.
    """
    levels = _levels(folder, folder, where)
    if not levels:
        raise InputError(f"{where}: each class needs a folder of its own, but images lie in {folder.name} itself.")
    if levels > _MOST_LEVELS:
        raise InputError(
            f"{where}: images lie at most {_MOST_LEVELS} folders deep (task/train/class), but here {levels}. "
            "Name a folder further down."
        )
    if levels == 1:
        _require_layout("classes", layout, where)
        return _classes(folder, folder, "", "", where)
    children = _folders(folder)
    of_parts = [path for path in children if path.name.lower() in PARTS]
    if levels == 2 and layout != "tasks" and of_parts:
        if len(of_parts) < len(children):
            strangers = few(path.name for path in children if path not in of_parts)
            raise InputError(
                f"{where}: {of_parts[0].name} beside {strangers} may be parts or tasks. Move what is neither train nor "
                "test elsewhere, or set `stream.args.layout=tasks`."
            )
        return _parts(folder, folder, "", where)
    _require_layout("tasks", layout, where)
    if levels == 2:
        return [one for task in children for one in _classes(task, folder, task.name, "", where)]
    return [one for task in children for one in _parts(task, folder, task.name, where)]


def _require_layout(meant: Layout, layout: Layout | None, where: str) -> None:
    if layout not in (None, meant):
        raise InputError(
            f"{where}: `layout` is {layout}, but its folders are of {meant}: "
            + ("there is no folder above those of classes. " if meant == "classes" else "there is a folder above. ")
            + "Leave it out."
        )


def _parts(folder: Path, top: Path, task: str, where: str) -> list[Found]:
    """The images of a folder with those to train and those to test on.

    Raises:
        InputError: there is something else, or one of the two is missing, or there are two to test on.
    """
    children = _folders(folder)
    names = [path.name for path in children]
    kinds = [PARTS.get(name.lower()) for name in names]
    if sorted(kinds, key=str) != ["test", "train"]:
        raise InputError(
            f"{where}: {folder.relative_to(top.parent)} needs one folder `train` and one `test` (or `val`), but has "
            f"{few(names)}. Validation data are cut from `train`; move what is too much elsewhere."
        )
    by_kind = dict(zip(kinds, children, strict=True))
    found = [one for kind in ("train", "test") for one in _classes(by_kind[kind], top, task, PARTS[kind], where)]
    known = {one.label for one in found if one.part == "train"}
    if strange := sorted({one.label for one in found} - known, key=natural):
        raise InputError(
            f"{where}: classes to test on must be there to train on, but {few(f'`{name}`' for name in strange)} "
            f"{'is' if len(strange) == 1 else 'are'} not in {by_kind['train'].relative_to(top.parent)}. Add or drop it."
        )
    return found


def _classes(folder: Path, top: Path, task: str, part: Part, where: str) -> list[Found]:
    return [Found(path, child.name, task, part) for child in _folders(folder) for path in _images(child, top, where)]


def _images(folder: Path, top: Path, where: str) -> list[Path]:
    """The images of one class, by name.

    Raises:
        InputError: there is none, or something else that may be one.
    """
    files = [path for path in _shown(folder) if path.suffix.lower() not in _SAID_BESIDE]
    for path in files:
        if not is_image(path):
            raise InputError(
                f"{where}: a class's folder holds images ({', '.join(SUFFIXES)}), but {path.relative_to(top)} is none. "
                "Convert it, or move it elsewhere."
            )
    if not files:
        raise InputError(
            f"{where}: a class needs images, but the folder {folder.relative_to(top)} holds none. Add some, or drop it."
        )
    return files


def _levels(folder: Path, top: Path, where: str) -> int:
    """How many folders deep the images lie, 0 for those in the folder itself.

    Raises:
        InputError: they do not all lie as deep, or beside folders.
    """
    children = _folders(folder)
    if not children:
        return 0
    if lone := next((path for path in _shown(folder) if is_image(path)), None):
        raise InputError(
            f"{where}: {lone.relative_to(top)} lies beside folders, so that nothing says its class. Move it into one."
        )
    levels = [_levels(child, top, where) for child in children]
    for child, level in zip(children, levels, strict=True):
        if level != levels[0]:
            first = children[0].relative_to(top)
            raise InputError(
                f"{where}: folders of one level must be of one kind, but {first} {_in_words(levels[0])} and "
                f"{child.relative_to(top)} {_in_words(level)}. Move one of them elsewhere."
            )
    return 1 + levels[0]


def _in_words(level: int) -> str:
    return f"holds folders{' of folders' * (level - 1)}" if level else "holds none"


def _folders(folder: Path) -> list[Path]:
    return [path for path in _shown(folder) if path.is_dir()]


def _shown(folder: Path) -> Sequence[Path]:
    return sorted((path for path in folder.iterdir() if not _hidden(path)), key=lambda path: natural(path.name))


def _hidden(path: Path) -> bool:
    return path.name[0] == "." or path.name.lower() in _LEFT_BEHIND


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name."""
    return path.suffix.lower() in SUFFIXES
