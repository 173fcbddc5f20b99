"""Your own stream as a folder of files, one per task."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line, unknown
from cfsweep.files import expanded, open_regular
from cfsweep.training.streams._assemble import TooFewExamples, refuse_args
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._cache import is_large
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._own_data import checked_examples, own_stream
from cfsweep.training.streams._own_tasks import OwnTask
from cfsweep.training.streams._parquet import LABEL, SPLIT, is_parquet, part_files, read_task
from cfsweep.training.streams._parquet_rows import unreadable

_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as Spark, Arrow and DuckDB call the folder of a missing value
# No task may be passed over for its name.
_PACKED = re.compile(r"\.(parquet|npz)\.(gz|bz2|xz|zst|lz4|br|zip|7z)$|\.pq$", re.IGNORECASE)
_SPARK_PART = re.compile(r"part-\d{5}-.+")


def from_folder(config: StreamConfig) -> Stream:
    """The stream in the folder `config.name`: one `.npz` or `.parquet` file per task, in the order of their names.

    An `.npz` holds `x_train`, `y_train`, `x_test`, `y_test`, x with the shape (n, features ...). A `.parquet` holds a
    column `y`, a column `split` (`train` or `test`), and x either as one (nested) list column `x` or as one column
    per feature, which are the same by name in all tasks; it may be a folder of parts, as Spark, Dask or Polars write
    one. Where no task has test data, a fixed, stratified fifth of the training data becomes some. The file's stem names
    the task. Mind the names: `task-10` comes before `task-2`, `task-02` does not.

    Raises:
        InputError: there is no such file, or one is damaged or breaks a rule.
    """
    refuse_args(config)
    folder = expanded(config.name)
    stream = f"stream `{config.name}`"
    paths = _tasks_in(folder, stream)
    if not paths:
        raise InputError(f"{stream}: the folder holds no .npz or .parquet file. Add one for each task.")
    tasks = _tasks(paths, stream, config.target)
    files = {str(part.relative_to(folder)): part for path in paths for part in part_files(path)}
    try:
        return own_stream(config, tasks, {name: sha256(part) for name, part in files.items()})
    except TooFewExamples as error:  # parts of one task, perhaps, each taken for a whole one
        raise InputError(f"{error} (Each file is one task; the parts of a task lie in a folder of its own.)") from error


def _tasks(paths: Sequence[Path], stream: str, target: str) -> list[OwnTask]:
    """The tasks; where their files or their examples are large one is in memory at a time, and is read again when its
    examples are written."""
    found: list[OwnTask] = []
    features: list[str] | None = None
    parts = [part for path in paths for part in part_files(path) if part.exists()]  # else it is told where it is read
    large = is_large(sum(part.stat().st_size for part in parts))
    for path in paths:
        where = f"{stream}, {path.name}"
        task, features = _read(path, where, features, target)
        found.append(replace(task, again=partial(_again, path, where, features, target)))
        large = large or is_large(sum(task.n_bytes for task in found))
        if large:
            found = [task.with_x(lambda x: x.to("meta")) for task in found]
            del task  # of which another one is about to be read
    return found if large else [replace(task, again=None) for task in found]


def _again(path: Path, where: str, features: list[str] | None, target: str) -> OwnTask:
    return _read(path, where, features, target)[0]


def from_file(config: StreamConfig, features: Sequence[str] = ()) -> Stream:
    """The stream of the one task that the file or folder of parts `config.name` holds, as `from_folder` reads it; its
    columns are the `features`, if these are given, in their order.

    Raises:
        InputError: there is none, or it is damaged or breaks a rule.
    """
    path = expanded(config.name)
    if not path.exists() or not (_is_npz(path) or is_parquet(path) or path.is_dir()):
        raise InputError(f"--task {path}: there is no .npz or .parquet file, nor a folder with the parts of one.")
    task, _ = _read(path, f"--task {path}", list(features) or None, config.target)
    files = {path.name if part == path else f"{path.name}/{part.relative_to(path)}": part for part in part_files(path)}
    return own_stream(config, [task], {name: sha256(part) for name, part in files.items()})


def _read(path: Path, where: str, features: list[str] | None, target: str) -> tuple[OwnTask, list[str] | None]:
    """The task at `path`, and the names of its features, or those of the task before."""
    parts = part_files(path)
    if not parts:
        raise InputError(f"{where}: the folder holds no .parquet file. Add one, or drop the folder.")
    for part in parts:
        _require_readable(part, where)
    _refuse_tables(path, parts, where)
    try:
        if _is_npz(path):
            return _from_npz(path, where, target), features
        return read_task(path, _name(path), where, features, target)
    except InputError:
        raise
    except NotImplementedError as error:  # Arrow's, too: of integers of 128 bits, say
        raise InputError(
            f"{where}: it holds something that is not read ({first_line(error)}). Write it as another type."
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise unreadable(where, error) from error


def _refuse_tables(path: Path, parts: Sequence[Path], where: str) -> None:
    """Raise where a folder is more than its parts: a table with a log, which may have deleted some, or with folders
    that say in a way of their own what is test data."""
    if (path / "_delta_log").is_dir() or any(path.glob("metadata/*.metadata.json")):
        raise InputError(f"{where}: it is a table with a log of what was deleted, which is not read. Export it first.")
    for part in parts:
        between = part.relative_to(path).parts[:-1]
        if named := next((name for name in between if name.lower() in ("train", "test")), None):
            raise InputError(f"{where}: a folder {named} says nothing to Parquet. Call it split={named}.")


def _require_readable(path: Path, where: str) -> None:
    try:
        open_regular(path).close()
    except OSError as error:
        said = (error.strerror or first_line(error)).lower()
        raise InputError(f"{where}: it cannot be read ({path.name}: {said}). Mend or drop it.") from error


def _name(path: Path) -> str:
    """What a task is called: the name of its file or folder, without a suffix that says what is in it."""
    return path.stem if is_parquet(path) or _is_npz(path) else path.name


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and not path.is_dir()


def _tasks_in(folder: Path, where: str) -> list[Path]:
    """Files and folders whose names say what they hold; where there are none, all folders with parts of Parquet. What
    begins with a dot or an underscore is no data, but what other tools leave beside it.

    Raises:
        InputError: what is a task is not clear, or they are none.
    """
    shown = sorted((path for path in folder.iterdir() if path.name[0] not in "._"), key=lambda path: path.name)
    for path in shown:
        if path.is_symlink() and not path.exists():  # it may have been a folder of parts, whatever its name
            raise InputError(f"{where}, {path.name}: it cannot be read (a link to nothing). Mend or drop it.")
        if _PACKED.search(path.name):
            raise InputError(f"{where}, {path.name}: only .npz and .parquet are read. Unpack or rename it.")
    named = [path for path in shown if is_parquet(path) or _is_npz(path)]
    folders = [path for path in shown if path not in named and path.is_dir() and part_files(path)]
    if named and folders:
        raise InputError(
            f"{folder}: it holds files such as {named[0].name} beside folders of parts such as {folders[0].name}, and "
            f"which of them are tasks is not clear. Call the folder {folders[0].name}.parquet, or move it elsewhere."
        )
    _require_tasks(named or folders, where)
    return named or folders


def _require_tasks(paths: Sequence[Path], where: str) -> None:
    """Raise if they are parts of a task instead, or two have one name."""
    remedy = "Give each task one file or folder, with such parts inside it."
    ends = {_name(path).rpartition("=")[2].lower(): path.name for path in paths}
    if {"train", "test"} <= ends.keys():
        both = f"{ends['train']} and {ends['test']}"
        raise InputError(f"{where}: each file or folder is one task, but {both} are parts of one. {remedy}")
    before: dict[str, Path] = {}
    for path in paths:
        key, _, value = path.name.partition("=")
        if path.is_dir() and value and key in (LABEL, SPLIT):
            raise InputError(f"{where}: each folder is one task, but {path.name} is a part by `{key}`. {remedy}")
        if value == _NO_VALUE:
            raise InputError(f"{where}: {path.name} holds examples without a task. Give them one, or drop the folder.")
        if _SPARK_PART.fullmatch(path.name):
            raise InputError(
                f"{where}: each file is one task, but {path.name} is named as a part of what Spark wrote. "
                "Give each task a folder, with its parts inside it."
            )
        twin = before.setdefault(_name(path), path)
        if twin is not path:
            raise InputError(f"{where}: {twin.name} and {path.name} are two tasks of one name. Rename or drop one.")


def _from_npz(path: Path, where: str, target: str) -> OwnTask:
    # opened here, because np.load leaves a damaged file open; no pickle, because one could run any code
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {key: _array(content, key, where) for key in content.files}
    for given, needed in (("x_train", "x_train"), ("x_train", "y_train"), ("x_test", "y_test"), ("y_test", "x_test")):
        if needed not in arrays and (given in arrays or needed == "x_train"):
            raise InputError(f"{where}: the array `{needed}` is missing. It holds {sorted(arrays)}.")
    parts = ("train", "test") if "x_test" in arrays else ("train",)
    found = [
        checked_examples(arrays[f"x_{part}"], arrays[f"y_{part}"], f"{where}, {part}", target=target) for part in parts
    ]
    return OwnTask(_name(path), found[0], found[1] if len(found) == 2 else None)


def _array(content: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in _NPZ_KEYS:
        raise unknown(where, "array", key, _NPZ_KEYS)
    try:
        return content[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(f"{where}, {key}: it must hold real numbers, but its type is object. Convert it.") from error
