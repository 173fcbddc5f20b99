"""Your own stream as a folder of files, one per task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line, unknown
from cfsweep.training.streams._assemble import refuse_args
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._own_data import OwnTask, checked_examples, own_stream

_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def from_folder(config: StreamConfig) -> Stream:
    """The stream in the folder `config.name`: one `.npz` or `.parquet` file per task, in the order of their names.

    An `.npz` holds `x_train`, `y_train`, `x_test`, `y_test`, x with the shape (n, features ...). A `.parquet` holds a
    column `y`, a column `split` (`train` or `test`), and x either as one (nested) list column `x` or as one column
    per feature. Without test data a fixed, stratified fifth of the training data becomes test data. The file's stem
    names the task. Mind the names: `task-10` comes before `task-2`, `task-02` does not.

    Raises:
        InputError: there is no such file, or one is damaged or breaks a rule.
    """
    refuse_args(config)
    folder = Path(config.name).expanduser()
    paths = sorted((p for p in folder.iterdir() if p.suffix in (".npz", ".parquet")), key=lambda path: path.name)
    if not paths:
        raise InputError(f"stream `{config.name}`: the folder holds no .npz or .parquet file. Add one for each task.")
    tasks = []
    for path in paths:
        where = f"stream `{config.name}`, {path.name}"
        try:
            tasks.append((_from_npz if path.suffix == ".npz" else _from_parquet)(path, where))
        except InputError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            raise InputError(
                f"{where}: the file is truncated or not what its name says ({first_line(error)}). Replace it."
            ) from error
    return own_stream(config, tasks, {path.name: sha256(path) for path in paths})


def _from_npz(path: Path, where: str) -> OwnTask:
    # opened here, because np.load leaves a damaged file open; no pickle, because one could run any code
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {key: content[key] for key in content.files}
    for key in arrays:
        if key not in _NPZ_KEYS:
            raise unknown(where, "array", key, _NPZ_KEYS)
    for given, needed in (("x_train", "x_train"), ("x_train", "y_train"), ("x_test", "y_test"), ("y_test", "x_test")):
        if needed not in arrays and (given in arrays or needed == "x_train"):
            raise InputError(f"{where}: the array `{needed}` is missing. It holds {sorted(arrays)}.")
    train = checked_examples(arrays["x_train"], arrays["y_train"], f"{where}, train")
    test = checked_examples(arrays["x_test"], arrays["y_test"], f"{where}, test") if "x_test" in arrays else None
    return OwnTask(path.stem, train, test)


def _from_parquet(path: Path, where: str) -> OwnTask:
    import pyarrow.parquet as pq  # a slow import

    table = pq.read_table(path)
    names = table.column_names
    if "y" not in names or len(set(names) - {"y", "split"}) == 0:
        raise InputError(f"{where}: the columns `y` and `x` (or features) are needed, but it has {names}. Add them.")
    features = [name for name in names if name not in ("y", "split")]
    if "x" in features and len(features) > 1:
        raise InputError(f"{where}: beside `x`, only `y` and `split` may stand, but it has {names}. Drop the others.")
    columns = [_numbers(table.column(name), f"{where}, column `{name}`") for name in features]
    x = columns[0] if features == ["x"] else np.stack(columns, axis=1)
    if features == ["x"] and x.ndim == 1:
        x = x[:, None]
    y = _numbers(table.column("y"), f"{where}, column `y`")
    split = np.array(table.column("split").to_pylist() if "split" in names else ["train"] * len(y), dtype=object)
    for value in split:
        if value not in ("train", "test"):
            raise unknown(f"{where}, column `split`", "value", str(value), ["train", "test"])
    train, test = split == "train", split == "test"
    return OwnTask(
        path.stem,
        checked_examples(x[train], y[train], f"{where}, train"),
        checked_examples(x[test], y[test], f"{where}, test") if test.any() else None,
    )


def _numbers(column: Any, where: str) -> np.ndarray[Any, Any]:
    """A column as an array; nested lists of equal length become further dimensions."""
    import pyarrow as pa
    import pyarrow.compute as pc

    list_kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # what pyarrow leaves of a column without rows, or in several chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type.value_type)
    shape = [len(array)]
    while True:
        if array.null_count:
            raise InputError(f"{where}: no value may be missing, but {array.null_count} are. Fill or drop them.")
        if not any(is_kind(array.type) for is_kind in list_kinds):
            return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
        lengths = pc.unique(pc.list_value_length(array)).to_pylist()
        if len(lengths) != 1:
            raise InputError(f"{where}: all lists must have one length, but they have {sorted(lengths)}. Pad or crop.")
        shape.append(lengths[0])
        array = array.flatten()
