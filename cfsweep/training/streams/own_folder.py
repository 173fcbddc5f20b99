"""Your own stream as a folder of files, one per task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line, unknown
from cfsweep.training.streams._assemble import refuse_args
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._own_data import OwnTask, checked_examples, own_stream
from cfsweep.training.streams._parquet import part_files, read_task

_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def from_folder(config: StreamConfig) -> Stream:
    """The stream in the folder `config.name`: one `.npz` or `.parquet` file per task, in the order of their names.

    An `.npz` holds `x_train`, `y_train`, `x_test`, `y_test`, x with the shape (n, features ...). A `.parquet` holds a
    column `y`, a column `split` (`train` or `test`), and x either as one (nested) list column `x` or as one column
    per feature, which are the same by name in all tasks; it may be a folder of parts, as Spark, Dask or Polars write
    one. Without test data a fixed, stratified fifth of the training data becomes test data. The file's stem names the
    task. Mind the names: `task-10` comes before `task-2`, `task-02` does not.

    Raises:
        InputError: there is no such file, or one is damaged or breaks a rule.
    """
    refuse_args(config)
    folder = Path(config.name).expanduser()
    paths = _tasks_in(folder)
    if not paths:
        raise InputError(f"stream `{config.name}`: the folder holds no .npz or .parquet file. Add one for each task.")
    tasks: list[OwnTask] = []
    features: list[str] | None = None
    for path in paths:
        where = f"stream `{config.name}`, {path.name}"
        try:
            if path.suffix == ".npz":
                task = _from_npz(path, where)
            else:
                task, features = read_task(path, where, features)
        except InputError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            raise InputError(
                f"{where}: the file is truncated or not what its name says ({first_line(error)}). Replace it."
            ) from error
        tasks.append(task)
    files = {str(part.relative_to(folder)): part for path in paths for part in part_files(path)}
    stream = own_stream(config, tasks, {name: sha256(part) for name, part in files.items()})
    return replace(stream, features=tuple(features)) if features and features != ["x"] else stream


def _tasks_in(folder: Path) -> list[Path]:
    """Files and folders whose names say what they hold; where there are none, all folders with parts of Parquet. What
    begins with a dot or an underscore is no data, but what other tools leave beside it."""
    shown = sorted((path for path in folder.iterdir() if path.name[0] not in "._"), key=lambda path: path.name)
    named = [path for path in shown if path.suffix == ".parquet" or (path.suffix == ".npz" and path.is_file())]
    folders = [path for path in shown if path not in named and path.is_dir() and part_files(path)]
    if named and folders:
        raise InputError(
            f"{folder}: it holds files such as {named[0].name} beside folders of parts such as {folders[0].name}, and "
            f"which of them are tasks is not clear. Call the folder {folders[0].name}.parquet, or move it elsewhere."
        )
    return named or folders


def _from_npz(path: Path, where: str) -> OwnTask:
    # opened here, because np.load leaves a damaged file open; no pickle, because one could run any code
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {key: _array(content, key, where) for key in content.files}
    for given, needed in (("x_train", "x_train"), ("x_train", "y_train"), ("x_test", "y_test"), ("y_test", "x_test")):
        if needed not in arrays and (given in arrays or needed == "x_train"):
            raise InputError(f"{where}: the array `{needed}` is missing. It holds {sorted(arrays)}.")
    train = checked_examples(arrays["x_train"], arrays["y_train"], f"{where}, train")
    test = checked_examples(arrays["x_test"], arrays["y_test"], f"{where}, test") if "x_test" in arrays else None
    return OwnTask(path.stem, train, test)


def _array(content: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in _NPZ_KEYS:
        raise unknown(where, "array", key, _NPZ_KEYS)
    try:
        return content[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise InputError(f"{where}, {key}: it must hold real numbers, but its type is object. Convert it.") from error
