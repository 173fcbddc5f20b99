"""A data set of Hugging Face's package `datasets` as a stream: images, or columns of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few, first_line, unknown
from cfsweep.files import expanded
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._image_files import Source
from cfsweep.training.streams._image_layout import PARTS, Part, natural
from cfsweep.training.streams._image_stream import (
    ImageArgs,
    LabelledImage,
    are_numbers,
    cut_tasks,
    image_stream,
    refuse_amounts,
)
from cfsweep.training.streams._own_data import checked_examples, digest, own_stream
from cfsweep.training.streams._own_tasks import OwnExamples, OwnTask

HUGGING_FACE = "hf:"  # what such a stream's name begins with
_COLUMNS = ("x", "y", "task")
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}


@dataclass(frozen=True)
class Table:
    """The rows of one part: `data` is a `datasets.Dataset`, `labels` and `tasks` are the names of each row's class and
    task (tasks are empty where no column says them)."""

    part: Part
    data: Any
    labels: list[str]
    tasks: list[str]


def from_dataset(config: StreamConfig) -> Stream:
    """The stream of the data set behind `hf:` in `config.name`: a folder that `save_to_disk` wrote, or whatever
    `load_dataset` reads: a folder, a file, or, where `config.download` says so, a name.

    `config.args`: `x`, the column with the images (`image`), or one or a list of columns of numbers; `y`, the one with
    the classes (`label`); `task`, one that says the task, in natural order; else classes are cut into tasks, by
    `config.n_tasks` or `tasks`. Of images `size` and `mode`, too. The split `test` (or `validation`) is for test; where
    there is `train` alone, a fixed, stratified fifth of each task.

    Raises:
        InputError: the package is not installed, there is no such data set, it lacks a column, or a rule is broken.
    """
    return _stream(config, f"stream `{config.name}`", task=None)


def task_of_dataset(config: StreamConfig) -> Stream:
    """The stream of the one task that a data set holds, called as its file or folder. Raises as `from_dataset`."""
    return _stream(config, f"--task {config.name}", Path(config.name.removeprefix(HUGGING_FACE)).stem)


def _stream(config: StreamConfig, where: str, task: str | None) -> Stream:
    refuse_amounts(config, where)
    args = ImageArgs.of(config.args, _COLUMNS, where)
    x, y = config.args.get("x", "image"), str(config.args.get("y", "label"))
    columns = [str(name) for name in (x if isinstance(x, list | tuple) else [x])]
    by_part = _by_part(_loaded(config, where), where)
    known = next(iter(by_part.values())).column_names
    by_task = config.args.get("task")
    for name in (*columns, y, *([] if by_task is None else [str(by_task)])):
        if name not in known:
            raise unknown(where, "column", name, known)
    tables = []
    for part, data in by_part.items():
        tasks = [task or ""] * len(data) if by_task is None else [str(value) for value in data[str(by_task)]]
        tables.append(Table(part, data, _labels(data, y, where), tasks))
    names = _class_names(by_part, y, tables)
    if len(columns) == 1 and _is_image(tables[0].data, columns[0]):
        images = [image for table in tables for image in _images(table, columns[0])]
        return image_stream(config, sorted(images, key=lambda image: natural(image.task)), args, names)
    if args.size or args.mode:
        raise InputError(f"{where}: `size` and `mode` are for images, but {few(columns)} holds none. Leave them out.")
    return _of_numbers(config, tables, columns, names, args, where)


# ------------------------------------------------------------------------------------------------ what there is


def _loaded(config: StreamConfig, where: str) -> Any:
    try:
        import datasets  # a slow import
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise InputError(
            f"{where}: it is read by the package datasets, which is not installed. "
            "Install it: pip install 'cfsweep[datasets]'."
        ) from error
    datasets.disable_progress_bars()
    name = config.name.removeprefix(HUGGING_FACE)
    place = expanded(name)
    if not place.exists() and not config.download:
        raise InputError(f"{where}: there is no {place}. Check the path; a name is fetched with `--download`.")
    read: Callable[[], Any]
    if any((place / file).is_file() for file in ("dataset_dict.json", "state.json")):
        read = lambda: datasets.load_from_disk(str(place))  # noqa: E731
    elif place.is_file():
        if place.suffix.lower() not in _FORMATS:
            raise unknown(where, "suffix", place.suffix, _FORMATS)
        read = lambda: datasets.load_dataset(_FORMATS[place.suffix.lower()], data_files=str(place))  # noqa: E731
    else:
        read = lambda: datasets.load_dataset(str(place) if place.exists() else name)  # noqa: E731
    try:
        return read()
    except Exception as error:  # files may be damaged, a name unknown, the network away
        raise InputError(f"{where}: it cannot be read ({first_line(error)}). Load it by itself to see more.") from error


def _by_part(loaded: Any, where: str) -> dict[Part, Any]:
    """The data set of each part; one alone is of no part.

    Raises:
        InputError: splits are called otherwise, there are two for test, or none to train on.
    """
    if not isinstance(loaded, Mapping):
        return {"": loaded}
    if len(loaded) == 1:
        return {"": next(iter(loaded.values()))}
    kinds = [PARTS.get(name.lower()) for name in loaded]
    if sorted(kinds, key=str) != ["test", "train"]:
        raise InputError(
            f"{where}: a split `train` and one `test` (or `validation`) are needed, but it has {few(loaded)}. "
            "Validation data are cut from `train`; drop what is too much, or join it to another."
        )
    by_kind = dict(zip(kinds, loaded.values(), strict=True))
    return {part: by_kind[part] for part in ("train", "test")}


def _is_image(data: Any, column: str) -> bool:
    return type(data.features[column]).__name__ == "Image"


def _labels(data: Any, column: str, where: str) -> list[str]:
    """The name of each row's class: of a `ClassLabel` as it says; whole numbers and words as they are.

    Raises:
        InputError: a row has none.
    """
    values = data[column][:]
    for row, value in enumerate(values):
        if type(value) not in (int, str) or (isinstance(value, int) and value < 0):
            raise InputError(
                f"{where}, column `{column}`: a class is a whole number from 0 up or a word, but row {row} (from 0) "
                f"has {value!r}. Fill or drop it."
            )
    called = getattr(data.features[column], "names", None)
    return [called[value] if called else str(value) for value in values]


def _class_names(by_part: Mapping[Part, Any], column: str, tables: Sequence[Table]) -> list[str]:
    """The classes that occur, in the order of the data set's own numbers, or in natural order."""
    found = {label for table in tables for label in table.labels}
    called = getattr(next(iter(by_part.values())).features[column], "names", None)
    return [name for name in called if name in found] if called else sorted(found, key=natural)


# ------------------------------------------------------------------------------------------------ images


def _images(table: Table, column: str) -> list[LabelledImage]:
    import datasets

    rows = table.data.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return [
        LabelledImage(Source(f"{table.part or 'row'} {k}", _reader(rows, k, column)), label, task, table.part)
        for k, (label, task) in enumerate(zip(table.labels, table.tasks, strict=True))
    ]


def _reader(rows: Any, number: int, column: str) -> Callable[[], bytes]:
    def read() -> bytes:
        image = rows[number][column]
        if image is None:
            raise FileNotFoundError("the row has no image")
        content = image["bytes"]
        return Path(image["path"]).read_bytes() if content is None else bytes(content)

    return read


# ------------------------------------------------------------------------------------------------ numbers


def _of_numbers(
    config: StreamConfig,
    tables: Sequence[Table],
    columns: Sequence[str],
    names: Sequence[str],
    args: ImageArgs,
    where: str,
) -> Stream:
    """The stream of rows of numbers, (n, columns), or (n, ...) of one column of lists."""
    given = bool(tables[0].tasks[0])
    if given and args.tasks:
        raise InputError(f"{where}: each row names its task already, but got `tasks`. Leave it out.")
    if given:
        tasks = sorted({task for table in tables for task in table.tasks}, key=natural)
        members = [(task, set(range(len(names)))) for task in tasks]
    else:
        members = [(name, set(of)) for name, of in cut_tasks(config, names, args.tasks, where)]
        config = config.model_copy(update={"class_order": "fixed", "n_tasks": None})  # which it was cut by
    found = []
    for name, classes in members:
        parts = [_examples(table, name if given else "", classes, columns, names, where) for table in tables]
        train = parts[0]
        if train is None:
            raise InputError(f"{where}, task `{name}`: a task needs rows to train on, but there is none. Add some.")
        found.append(OwnTask(name, train, parts[1] if len(parts) == 2 else None))
    return own_stream(config, found, {f"{config.name} (rows)": digest(found)})


def _examples(
    table: Table, task: str, classes: set[int], columns: Sequence[str], names: Sequence[str], where: str
) -> OwnExamples | None:
    """The rows of a part that are of the task and of these classes; None where there is none."""
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[label] for label in table.labels])
    rows = np.flatnonzero((np.array(table.tasks) == task) & np.isin(numbers, list(classes)))
    if not len(rows):
        return None
    chosen = table.data.select(rows).with_format("numpy")
    place = f"{where}, {table.part or 'rows'}"
    values = [np.asarray(chosen[name][:]) for name in columns]
    if len(columns) > 1 and any(of.ndim > 1 for of in values):
        raise InputError(f"{place}: several columns must hold a number each, but one holds lists. Give that one alone.")
    x = values[0] if len(columns) == 1 else np.stack(values, 1)
    named = columns if x.ndim == 1 or len(columns) > 1 else ()
    ids = _ids(names)[numbers[rows]]
    return checked_examples(x[:, None] if x.ndim == 1 else x, ids, place, named)


def _ids(names: Sequence[str]) -> np.ndarray[Any, Any]:
    """What `own_stream` is told of each class: its name, as a number where all are some."""
    return np.array([int(name) for name in names] if are_numbers(names) else names)
