"""From images that know their class, and perhaps their task and part, to a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few, unknown
from cfsweep.training.streams._assemble import (
    TEST_SHARE,
    Draft,
    assemble,
    refuse_class_order,
    require_n_tasks,
)
from cfsweep.training.streams._base import OF_AMOUNTS, ClassId, Stream
from cfsweep.training.streams._cache import mapped
from cfsweep.training.streams._image_files import Known, Mode, Source
from cfsweep.training.streams._image_layout import Part, natural
from cfsweep.training.streams._image_store import all_known, mapped_pixels
from cfsweep.training.streams._labels import test_cut

PIXELS = "pixels as read"  # among a stream's files


@dataclass(frozen=True)
class LabelledImage:
    """An image, the name of its class, and those of its task, part and file where it has some."""

    source: Source
    label: str
    task: str = ""
    part: Part = ""
    file: str = ""


@dataclass(frozen=True)
class ImageArgs:
    """What `stream.args` say of images: their `size` (height, width), None where they all have one; their `mode`, None
    where it is that of the files; and the `tasks`, as lists of classes, None where these are cut."""

    size: tuple[int, int] | None = None
    mode: Mode | None = None
    tasks: tuple[tuple[str, ...], ...] | None = None

    @staticmethod
    def of(args: Mapping[str, Any], others: Sequence[str], where: str) -> ImageArgs:
        """Those among `args`, which may have `others`, too.

        Raises:
            InputError: one is unknown, or has not the form that it must have.
        """
        known = ("size", "mode", "tasks")
        for name in args:
            if name not in (*known, *others):
                raise unknown(where, "argument", name, [*known, *others])
        mode = args.get("mode")
        if mode is not None and mode not in get_args(Mode):
            raise unknown(f"{where}, mode", "value", str(mode), get_args(Mode))
        return ImageArgs(_size(args.get("size"), where), mode, _tasks(args.get("tasks"), where))


def _size(given: Any, where: str) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = [given, given] if isinstance(given, int) else given
    if not (isinstance(sides, list | tuple) and len(sides) == 2 and all(type(n) is int and n > 0 for n in sides)):
        raise InputError(f"{where}: `size` must be a number of pixels, or [height, width], but got {given}.")
    return sides[0], sides[1]


def _tasks(given: Any, where: str) -> tuple[tuple[str, ...], ...] | None:
    if given is None:
        return None
    if not (isinstance(given, list | tuple) and given and all(isinstance(one, list | tuple) and one for one in given)):
        raise InputError(
            f"{where}: `tasks` must be a list with a list of classes for each task, such as [[cat, dog], [car, bus]], "
            f"but got {given}."
        )
    return tuple(tuple(map(str, one)) for one in given)


def image_stream(
    config: StreamConfig, images: Sequence[LabelledImage], args: ImageArgs, names: Sequence[str] = ()
) -> Stream:
    """The stream of the images, which lie in the store in their order.

    Images that name their tasks make these, in the order in which they come, and their classes are numbered by name,
    over all tasks. In the others' stead classes are cut into tasks, as `args.tasks` says or into `config.n_tasks` equal
    ones, in the order of `names` (by default that of the classes' names, natural) or as `config.class_order` permutes
    them. Where none names its part, a fixed, stratified fifth of each task becomes test data.

    Raises:
        InputError: sizes or modes differ and nothing says which is wanted, an image is damaged, tasks are not told or
            contradict the classes, or a class has too few images.
    """
    where = f"stream `{config.name}`"
    refuse_amounts(config, where)
    sources = [image.source for image in images]
    known = all_known(sources, where)
    shape = _shape(images, known, args, where)
    names = names or sorted({image.label for image in images}, key=natural)
    number_of = {name: number for number, name in enumerate(names)}
    labels = np.array([number_of[image.label] for image in images])
    given = bool(images[0].task)
    tasks = _named_tasks(config, images, labels, where) if given else cut_tasks(config, names, args.tasks, where)
    order = np.arange(len(names)) if given else np.array([label for _, classes in tasks for label in classes])
    y = np.argsort(order)[labels]
    numbered = [(name, np.argsort(order)[classes]) for name, classes in tasks]
    class_ids = _class_ids([names[k] for k in order])
    drafts = _drafts(config, images, y, numbered, class_ids, where)
    path, digest = mapped_pixels(sources, known, shape, where)
    files = _files(images, known, drafts) | {PIXELS: digest}
    stream = assemble(config, mapped(path), torch.from_numpy(y), drafts, files, class_ids)
    return replace(stream, test_share=0.0 if images[0].part else TEST_SHARE, mapped="" if config.encoder else str(path))


def refuse_amounts(config: StreamConfig, where: str) -> None:
    """Raise where the target learns amounts: what is read here has classes."""
    if config.target in OF_AMOUNTS:
        raise InputError(
            f"{where}: its labels are classes, but the target `{config.target}` learns amounts. Take `classification`, "
            "or give images and amounts by a function, as examples/own_stream.py."
        )


def are_numbers(names: Iterable[str]) -> bool:
    """Whether all names are whole numbers, as these are written.

    >>> are_numbers(["7", "10"]), are_numbers(["07"]), are_numbers(["cat", "7"])
    (True, False, False)
    """
    return all(name.isascii() and name.isdecimal() and str(int(name)) == name for name in names)


def _class_ids(names: Sequence[str]) -> tuple[ClassId, ...]:
    """The labels that the classes, in the order of their numbers, have for the user: their names, as numbers where all
    are some; none where that is what they are numbered by."""
    ids: tuple[ClassId, ...] = tuple(map(int, names)) if are_numbers(names) else tuple(names)
    return () if ids == tuple(range(len(ids))) else ids


def _shape(
    images: Sequence[LabelledImage], known: Sequence[Known], args: ImageArgs, where: str
) -> tuple[int, int, int]:
    """(channels, height, width) of all images.

    Raises:
        InputError: they differ, and nothing is said.
    """

    def other(of: list[Any]) -> tuple[LabelledImage, LabelledImage] | None:
        return next(((images[0], image) for image, value in zip(images, of, strict=True) if value != of[0]), None)

    sizes, modes = [(one.height, one.width) for one in known], [one.mode for one in known]
    if args.size is None and (two := other(sizes)):
        (h, w), (i, j) = sizes[0], next(size for size in sizes if size != sizes[0])
        raise InputError(
            f"{where}: images must be of one size, but {two[0].source.name} has {h} x {w} pixels and "
            f"{two[1].source.name} {i} x {j} (height x width). Set `stream.args.size`, to which all are brought then."
        )
    if args.mode is None and (two := other(modes)):
        raise InputError(
            f"{where}: images must be of one kind, but {two[0].source.name} is {modes[0]} and {two[1].source.name} is "
            "not. Set `stream.args.mode` to grey or rgb, to which all are converted then."
        )
    return (1 if (args.mode or modes[0]) == "grey" else 3, *(args.size or sizes[0]))


def _named_tasks(
    config: StreamConfig, images: Sequence[LabelledImage], labels: NDArray[np.int64], where: str
) -> list[tuple[str, list[int]]]:
    """The tasks that images name, with the numbers of their classes."""
    refuse_class_order(config, "the tasks name their own classes")
    tasks: dict[str, set[int]] = {}
    for image, label in zip(images, labels.tolist(), strict=True):
        tasks.setdefault(image.task, set()).add(label)
    require_n_tasks(config, len(tasks))
    if config.args.get("tasks") is not None:
        raise InputError(f"{where}: each image names its task already, but got `tasks`. Leave it out.")
    return [(name, sorted(classes)) for name, classes in tasks.items()]


def cut_tasks(
    config: StreamConfig, names: Sequence[str], given: Sequence[Sequence[str]] | None, where: str
) -> list[tuple[str, list[int]]]:
    """Tasks of the classes that are called `names`, by their numbers, each called by its classes: as they are `given`,
    else equal parts as `config` says.

    Raises:
        InputError: nothing says how, a class is unknown, missing or in two tasks, or the tasks would not be equal.
    """
    if given is None:
        return [(", ".join(names[k] for k in part), part) for part in _equal_parts(config, len(names), where)]
    refuse_class_order(config, "`tasks` says it")
    require_n_tasks(config, len(given))
    listed = [name for task in given for name in task]
    for name in listed:
        if name not in names:
            raise unknown(f"{where}, tasks", "class", name, names)
        if listed.count(name) > 1:
            raise InputError(f"{where}: each class is of one task, but `tasks` has `{name}` twice. Drop one.")
    if missing := [name for name in names if name not in listed]:
        raise InputError(f"{where}: each class is of one task, but `tasks` lacks {few(missing)}. Add them.")
    return [(", ".join(task), [names.index(name) for name in task]) for task in given]


def _equal_parts(config: StreamConfig, n_classes: int, where: str) -> list[list[int]]:
    n_tasks = config.n_tasks
    if n_tasks is None or n_classes % n_tasks:
        divisors = ", ".join(str(n) for n in range(1, n_classes + 1) if n_classes % n == 0)
        got = "nothing says how" if n_tasks is None else f"got n_tasks={n_tasks}"
        raise InputError(
            f"{where}: its {n_classes} classes must be cut into tasks of equally many, but {got}. Set `stream.n_tasks` "
            f"to one of {divisors}, or name the classes of each task in `stream.args.tasks`."
        )
    order = np.arange(n_classes)
    if config.class_order != "fixed":
        order = np.random.default_rng(config.class_order).permutation(n_classes)
    parts: list[list[int]] = order.reshape(n_tasks, -1).tolist()
    return parts


def _drafts(
    config: StreamConfig,
    images: Sequence[LabelledImage],
    y: NDArray[np.int64],
    tasks: Sequence[tuple[str, NDArray[np.int64]]],
    class_ids: Sequence[ClassId],
    where: str,
) -> list[Draft]:
    """The tasks, their classes by number, with the positions of their images to train and to test on.

    Raises:
        InputError: some tasks have test data and others none, or a class has too few images.
    """
    of_task = np.array([image.task for image in images])
    of_part = np.array([image.part for image in images])
    if len(both := sorted(set(of_part.tolist()) - {"train"})) > 1:
        without = next(image for image in images if not image.part)
        raise InputError(
            f"{where}: all tasks must have test data or none, but `{without.task}` has none and others {both[1]}. "
            "Give it a folder `train` and a folder `test`."
        )
    drafts = []
    for name, classes in tasks:
        rows = np.flatnonzero((of_task == name) if images[0].task else np.isin(y, classes))
        train, test = (rows[of_part[rows] == part] for part in ("train", "test"))
        if not of_part[rows[0]]:
            kept, cut = test_cut(config, y[rows], f"{where}, task `{name}`, test share", class_ids)
            train, test = rows[kept], rows[cut]
        drafts.append(Draft(name, tuple(sorted(classes.tolist())), train, test))
    return drafts


def _files(images: Sequence[LabelledImage], known: Sequence[Known], drafts: Sequence[Draft]) -> dict[str, str]:
    """For each task one SHA-256 over its images: their parts, classes, names and contents."""
    found = {}
    for draft in drafts:
        total = hashlib.sha256()
        for k in np.sort(np.concatenate([draft.train, draft.test])).tolist():
            image = images[k]
            total.update(repr((image.part, image.label, image.file, known[k].sha256.hex())).encode())
        found[f"images of {draft.name}"] = total.hexdigest()
    return found
