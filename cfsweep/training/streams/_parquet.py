"""A task in Parquet: one file, or a folder of parts as other tools write them; columns go by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfsweep.errors import InputError, few, unknown
from cfsweep.files import foreign_column
from cfsweep.training.streams._base import CLASSIFICATION, OF_AMOUNTS
from cfsweep.training.streams._columns import columns_apart, few_columns, other_features, require_names_once
from cfsweep.training.streams._own_data import checked_examples
from cfsweep.training.streams._own_tasks import OwnTask

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

LABEL, SPLIT = "y", "split"
_INDEX = re.compile(r"__index_level_\d+__")  # pandas' name for an index that has none


def is_parquet(path: Path) -> bool:
    """Whether a name says so, in capitals or not."""
    return path.suffix.lower() == ".parquet"


def part_files(path: Path) -> list[Path]:
    """The Parquet files of a task, in the order of their names: the file itself, or the parts below a folder."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*") if is_parquet(p) and not p.is_dir() and not _hidden(p, path))


def read_task(
    path: Path, name: str, where: str, features: list[str] | None, target: str = CLASSIFICATION
) -> tuple[OwnTask, list[str]]:
    """The task called `name` in a file or a folder of parts, and the names of its features in the order of x.

    `features` are those of the task before, whose order this one takes. A column that pandas calls an index is none.

    Raises:
        InputError: columns are missing, named twice, or others than before; one holds no numbers, or misses some;
            there are no rows, or none of `train` or `test` where a column `split` is to tell.
    """
    table = parquet_table(path, where)
    names = [name for name in table.column_names if name not in index_columns(table.schema)]
    require_names_once(names, where)
    found = [name for name in names if name not in (LABEL, SPLIT)]
    if LABEL not in names or not found:
        raise InputError(
            f"{where}: the columns `y` and `x` (or features) are needed, but it has {few_columns(names)}. Add them."
        )
    if "x" in found and len(found) > 1:
        others = few_columns(name for name in found if name != "x")
        raise InputError(f"{where}: beside `x`, only `y` and `split` may stand, but so does {others}. Drop it.")
    if features is not None and set(features) != set(found):
        raise other_features(where, features, found)
    if not len(table):
        raise InputError(f"{where}: a task needs examples, but there is none. Add some, or leave it out.")
    features = features or found
    columns = [_numbers(table.column(name), f"{where}, column `{name}`") for name in features]
    x = columns[0] if found == ["x"] else _side_by_side(columns, features, where)
    if x.ndim == 1:
        x = x[:, None]
    label_column, place = table.column(LABEL), f"{where}, column `{LABEL}`"
    y = _numbers(label_column, place) if target in OF_AMOUNTS else _labels(label_column, place)
    split = _split(table, where)
    train, test = split == "train", split == "test"
    named = features if found != ["x"] and x.ndim == 2 else []
    task = OwnTask(
        name,
        checked_examples(x[train], y[train], f"{where}, train", named, target),
        checked_examples(x[test], y[test], f"{where}, test", named, target) if test.any() else None,
    )
    return task, features


def _side_by_side(columns: Sequence[np.ndarray[Any, Any]], names: Sequence[str], where: str) -> np.ndarray[Any, Any]:
    """Columns (n, ...) of one shape as (n, columns, ...).

    Raises:
        InputError: some hold lists and others numbers, or lists of another length.
    """
    if len({column.shape for column in columns}) > 1:
        name, shape = next((n, c.shape[1:]) for n, c in zip(names, columns, strict=True) if c.ndim > 1)
        raise InputError(
            f"{where}: columns of features must hold one number each, but `{name}` holds lists of the shape {shape}. "
            "Call it `x` and drop the others, or write a column for each of its values."
        )
    return np.stack(columns, axis=1)


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(below).parts)


def parquet_table(path: Path, where: str) -> pa.Table:
    """The rows of all parts, in the order of their names; of a folder called `name=value` the value is a column.

    Raises:
        InputError: the parts have not the same columns.
    """
    import pyarrow.parquet as pq  # a slow import

    if not path.is_dir():
        file = pq.ParquetFile(path)
        _refuse_foreign(file.schema_arrow, where)
        return file.read()  # read_table would take names such as `y=1` in the path for columns
    return parquet_dataset(path, where).to_table()


def parquet_dataset(path: Path, where: str) -> ds.Dataset:
    """The same rows, not yet read. Raises as `parquet_table`."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    if not path.is_dir():
        alone = ds.dataset(str(path), format="parquet")
        _refuse_foreign(alone.schema, where)
        return alone
    options = {"format": "parquet", "partitioning": "hive", "partition_base_dir": str(path)}
    files = [str(part) for part in part_files(path)]
    found = ds.dataset(files, **options)
    schemas = [fragment.physical_schema for fragment in found.get_fragments()]
    for file, schema in zip(files, schemas, strict=True):
        _refuse_foreign(schema, where)
        if set(schema.names) != set(schemas[0].names):
            apart = columns_apart(schemas[0].names, schema.names)
            raise InputError(
                f"{where}: its parts must have the same columns, but beside {Path(files[0]).name}, {Path(file).name} "
                f"{apart}. Write them alike."
            )
    try:
        together = pa.unify_schemas([found.schema, *schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{where}: its parts must have the same types ({error}). Write them alike.") from error
    return ds.dataset(files, schema=together, **options)


def _refuse_foreign(schema: pa.Schema, where: str) -> None:
    """
    Raises:
        InputError: to read a column would run code that others have registered for its type.
    """
    if (foreign := foreign_column(schema)) is not None:
        raise InputError(f"{where}: the column {foreign} is none of Arrow's own. Write it as numbers or words.")


def index_columns(schema: pa.Schema) -> set[str]:
    """The columns that pandas wrote as an index; the label and the split are read all the same."""
    told = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    named = {name for name in told if isinstance(name, str)} | {n for n in schema.names if _INDEX.fullmatch(n)}
    return named - {LABEL, SPLIT}


def _split(table: pa.Table, where: str) -> np.ndarray[Any, Any]:
    """(n,) `train` or `test`; all `train` where there is no such column.

    Raises:
        InputError: the column holds anything else, or one of the two alone.
    """
    if SPLIT not in table.column_names:
        return np.full(len(table), "train", object)
    split = np.array(table.column(SPLIT).to_pylist(), object)
    for value in dict.fromkeys(split.tolist()):
        if value not in ("train", "test"):
            raise unknown(f"{where}, column `{SPLIT}`", "value", str(value), ["train", "test"])
    if len(only := set(split.tolist())) == 1:
        remedy = (
            "leave the column out of all tasks, for a fifth to become test data" if "train" in only else "drop the task"
        )
        raise InputError(
            f"{where}, column `{SPLIT}`: a task needs rows of `train` and of `test`, but all {len(split)} are "
            f"`{only.pop()}`. Add the others, or {remedy}."
        )
    return split


def _labels(column: pa.ChunkedArray, where: str) -> np.ndarray[Any, Any]:
    """As `_numbers`, or words; decimals, as databases write whole numbers, must be some.

    Raises:
        InputError: they are not, or lie beyond 64 bits.
    """
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and not column.null_count:
        return np.array(column.to_pylist(), np.str_)
    if not pa.types.is_decimal(column.type) or column.null_count:
        return _numbers(column, where)
    for kind in (pa.int64(), pa.uint64()):
        try:
            return _numbers(column.cast(kind), where)
        except pa.ArrowInvalid:
            continue
    raise InputError(
        f"{where}: labels must be whole numbers of at most 64 bits, but some of this {column.type} are not. Convert it."
    )


def _numbers(column: pa.ChunkedArray, where: str) -> np.ndarray[Any, Any]:
    """A column as an array; nested lists of equal length become further dimensions.

    Raises:
        InputError: it holds no numbers, misses some, or has lists of several lengths.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.types
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    shape = [len(array)]
    while True:
        if array.null_count:
            raise InputError(f"{where}: no value may be missing, but {array.null_count} are. Fill or drop them.")
        if kinds.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif isinstance(array, pa.FixedShapeTensorArray):
            return _tensors(array, where)
        elif isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif kinds.is_list(array.type) or kinds.is_large_list(array.type) or kinds.is_fixed_size_list(array.type):
            lengths = pc.unique(pc.list_value_length(array)).to_pylist()
            if len(lengths) != 1:
                raise InputError(f"{where}: all lists must have one length, but they have {few(sorted(lengths))}. Pad.")
            shape.append(lengths[0])
            array = array.flatten()
        elif kinds.is_decimal(array.type):
            array = array.cast(pa.float64())
        elif kinds.is_integer(array.type) or kinds.is_floating(array.type) or kinds.is_boolean(array.type):
            return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
        else:
            raise InputError(f"{where}: it must hold numbers, but its type is {array.type}. Convert or drop it.")


def _tensors(array: pa.FixedShapeTensorArray, where: str) -> np.ndarray[Any, Any]:
    """Tensors of one shape as (n, *shape).

    Raises:
        InputError: their dimensions lie in another order than the shape says, which readers take in different ways.
    """
    import pyarrow as pa

    shape, order = array.type.shape, array.type.permutation
    if order is not None and list(order) != sorted(order):
        raise InputError(
            f"{where}: tensors must lie in memory as their shape says, but theirs is permuted ({list(order)}). "
            "Write contiguous ones."
        )
    return _numbers(pa.chunked_array([array.storage]), where).reshape(len(array), *shape)
