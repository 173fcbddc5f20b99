"""A task in Parquet: one file, or a folder of parts as other tools write them; columns go by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfsweep.errors import InputError, few, unknown
from cfsweep.training.streams._own_data import OwnTask, checked_examples

if TYPE_CHECKING:
    import pyarrow as pa

LABEL, SPLIT = "y", "split"
_INDEX = re.compile(r"__index_level_\d+__")  # pandas' name for an index that has none


def part_files(path: Path) -> list[Path]:
    """The Parquet files of a task, in the order of their names: the file itself, or the parts below a folder."""
    return [path] if path.is_file() else sorted(p for p in path.rglob("*.parquet") if not _hidden(p, path))


def read_task(path: Path, where: str, features: list[str] | None) -> tuple[OwnTask, list[str]]:
    """The task in a file or a folder of parts, and the names of its features in the order of x.

    `features` are those of the task before, whose order this one takes. A column that pandas calls an index is none.

    Raises:
        InputError: columns are missing, named twice, or others than before; one holds no numbers, or misses some.
    """
    table = _table(path, where)
    names = [name for name in table.column_names if name not in _index_columns(table.schema)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}: a column name stands once, but {_few(twice)} stands twice. Rename one.")
    found = [name for name in names if name not in (LABEL, SPLIT)]
    if LABEL not in names or not found:
        raise InputError(
            f"{where}: the columns `y` and `x` (or features) are needed, but it has {_few(names)}. Add them."
        )
    if "x" in found and len(found) > 1:
        others = _few(name for name in found if name != "x")
        raise InputError(f"{where}: beside `x`, only `y` and `split` may stand, but so does {others}. Drop it.")
    if features is not None and set(features) != set(found):
        apart = _apart(features, found)
        raise InputError(f"{where}: all tasks must have the same features, but it {apart}. Rename or drop columns.")
    columns = [_numbers(table.column(name), f"{where}, column `{name}`") for name in features or found]
    x = columns[0] if found == ["x"] else np.stack(columns, axis=1)
    if x.ndim == 1:
        x = x[:, None]
    y, split = _numbers(table.column(LABEL), f"{where}, column `y`"), _split(table, where)
    train, test = split == "train", split == "test"
    task = OwnTask(
        path.stem,
        checked_examples(x[train], y[train], f"{where}, train"),
        checked_examples(x[test], y[test], f"{where}, test") if test.any() else None,
    )
    return task, features or found


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(below).parts)


def _table(path: Path, where: str) -> pa.Table:
    """The rows of all parts, in the order of their names; of a folder called `name=value` the value is a column.

    Raises:
        InputError: the parts have not the same columns.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq  # a slow import

    if path.is_file():
        return pq.ParquetFile(path).read()  # read_table would take names such as `y=1` in the path for columns
    options = {"format": "parquet", "partitioning": "hive", "partition_base_dir": str(path)}
    files = [str(part) for part in part_files(path)]
    found = ds.dataset(files, **options)
    schemas = [fragment.physical_schema for fragment in found.get_fragments()]
    for file, schema in zip(files, schemas, strict=True):
        if set(schema.names) != set(schemas[0].names):
            apart = _apart(schemas[0].names, schema.names)
            raise InputError(
                f"{where}: its parts must have the same columns, but beside {Path(files[0]).name}, {Path(file).name} "
                f"{apart}. Write them alike."
            )
    try:
        together = pa.unify_schemas([found.schema, *schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(f"{where}: its parts must have the same types ({error}). Write them alike.") from error
    return ds.dataset(files, schema=together, **options).to_table()


def _apart(before: Iterable[str], here: Iterable[str]) -> str:
    """
    >>> _apart(["a", "b"], ["b", "c"]), _apart(["a"], ["b", "a"])
    ('lacks `a` and has `c`', 'has `b`')
    """
    lacks, has = sorted(set(before) - set(here)), sorted(set(here) - set(before))
    return " and ".join(f"{word} {_few(of)}" for word, of in (("lacks", lacks), ("has", has)) if of)


def _few(columns: Iterable[str]) -> str:
    return few(f"`{column}`" for column in columns)


def _index_columns(schema: pa.Schema) -> set[str]:
    """The columns that pandas wrote as an index; the label and the split are read all the same."""
    told = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    named = {name for name in told if isinstance(name, str)} | {n for n in schema.names if _INDEX.fullmatch(n)}
    return named - {LABEL, SPLIT}


def _split(table: pa.Table, where: str) -> np.ndarray[Any, Any]:
    """(n,) `train` or `test`; all `train` where there is no such column."""
    if SPLIT not in table.column_names:
        return np.full(len(table), "train", object)
    split = np.array(table.column(SPLIT).to_pylist(), object)
    for value in dict.fromkeys(split.tolist()):
        if value not in ("train", "test"):
            raise unknown(f"{where}, column `{SPLIT}`", "value", str(value), ["train", "test"])
    return split


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
