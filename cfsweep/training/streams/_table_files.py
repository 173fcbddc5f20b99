"""A table as it lies in a file of CSV or Parquet, in a folder of parts, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfsweep.errors import InputError, first_line
from cfsweep.training.streams._columns import columns_apart, few_columns, require_names_once
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._parquet import index_columns, parquet_table, part_files
from cfsweep.training.streams._table_settings import SUFFIXES, Kind
from cfsweep.training.streams._typed import READ, Floats, Misfit, Words, one_array, words

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Raw:
    """A table as it was read: all of CSV are texts, `untyped`, all of Parquet as it was written. `where` names it in
    what is said; `parts` are its files, by name with their numbers of rows, none for a table in memory."""

    table: pa.Table
    where: str
    parts: tuple[tuple[str, int], ...] = ()
    untyped: bool = False

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        found: list[str] = self.table.column_names
        return found

    def column(self, name: str) -> pa.Array:
        return one_array(self.table.column(name))

    def holds_words(self, name: str) -> bool:
        """Whether a column is of texts or booleans by its type, not for want of one."""
        import pyarrow as pa

        kind = self.column(name).type
        return not self.untyped and bool(pa.types.is_string(kind) or pa.types.is_boolean(kind))

    def values(self, name: str, kind: Kind, remedy: str) -> Floats:
        """The column as numbers, NaN where one is missing.

        Raises:
            InputError: a value does not fit; the line ends with the `remedy`.
        """
        try:
            return READ[kind](self.column(name))
        except Misfit as odd:
            raise self.misfit(name, odd, remedy) from odd

    def words(self, name: str, remedy: str = "Drop it.") -> Words:
        """The column as words, None where one is missing. Raises as `values`."""
        try:
            return words(self.column(name))
        except Misfit as odd:
            raise self.misfit(name, odd, remedy) from odd

    def misfit(self, name: str, odd: Misfit, remedy: str) -> InputError:
        return self.error(name, odd.row, f"{odd.rule}, but got {_short(odd.value)}", remedy)

    def error(self, name: str, row: int, what: str, remedy: str) -> InputError:
        """The line for a value; rows are counted from 1 in their file, the header not among them."""
        part, number = "", row
        if len(self.parts) > 1:
            ends = np.cumsum([0, *(n for _, n in self.parts)])
            which = int(np.searchsorted(ends, row, "right")) - 1
            part, number = f", {self.parts[which][0]}", row - int(ends[which])
        return InputError(f"{self.where}{part}, column `{name}`, row {number + 1}: {what}. {remedy}")


def _short(value: object) -> str:
    text = f"`{value}`"
    return text if len(text) <= 60 else f"{text[:57]}…`"


def read_table(path: Path, where: str) -> tuple[Raw, dict[str, str]]:
    """The table in a file or in a folder of parts, and the SHA-256 of each file by its name.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    files = table_files(path)
    if not files:
        raise InputError(f"{where}: no table is there. Give a .csv, .tsv or .parquet file, or a folder with its parts.")
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) > 1:
        raise InputError(f"{where}: the parts of a table must be of one kind, but are {', '.join(sorted(kinds))}.")
    try:
        found = _from_parquet(path, files, where) if kinds == {".parquet"} else _from_csv(files, where)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(
            f"{where}: the file is truncated or not what its name says ({first_line(error)}). Replace it."
        ) from error
    if not len(found):
        raise InputError(f"{where}: a table needs rows, but there is none. Add some.")
    named = {_name(file, path): sha256(file) for file in files}
    return found, named


def table_files(path: Path) -> list[Path]:
    """The file, or the parts below a folder in the order of their names; none where it is no table."""
    if not path.is_dir():
        return [path] if path.is_file() and path.suffix.lower() in SUFFIXES else []
    texts = (part for part in path.rglob("*") if part.suffix.lower() in DELIMITERS and part.name[0] not in "._")
    return sorted([*texts, *part_files(path)])


def in_memory(given: Any, where: str) -> Raw:
    """A table of pandas, Polars or Arrow.

    Raises:
        InputError: it is none, or a column of it mixes types.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        if isinstance(given, pd.DataFrame):
            named = given.rename(columns=str)
            return Raw(pa.Table.from_pandas(named, preserve_index=False), where)
        return Raw(given if isinstance(given, pa.Table) else pa.table(given), where)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{where}: it is no table that can be read ({first_line(error)}). Convert it.") from error


def _name(file: Path, path: Path) -> str:
    return file.name if file == path else f"{path.name}/{file.relative_to(path)}"


def _from_parquet(path: Path, files: Sequence[Path], where: str) -> Raw:
    import pyarrow.parquet as pq

    table = parquet_table(path, where)
    left_out = index_columns(table.schema)
    kept = [name for name in table.column_names if name not in left_out]
    require_names_once(kept, where)
    parts = tuple((file.name, pq.read_metadata(file).num_rows) for file in files)
    return Raw(table.select(kept), where, parts)


def _from_csv(files: Sequence[Path], where: str) -> Raw:
    import pyarrow as pa

    tables = [_read_csv(file, where if len(files) == 1 else f"{where}, {file.name}") for file in files]
    first = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        if set(table.column_names) != set(first):
            raise InputError(
                f"{where}: its parts must have the same columns, but beside {files[0].name}, {file.name} "
                f"{columns_apart(first, table.column_names)}. Write them alike."
            )
    together = pa.concat_tables([table.select(first) for table in tables])
    parts = tuple((file.name, table.num_rows) for file, table in zip(files, tables, strict=True))
    return Raw(together, where, parts, untyped=True)


def _read_csv(file: Path, where: str) -> pa.Table:
    """All columns as texts; one without a name, as pandas writes its index, is left out."""
    import csv

    import pyarrow as pa
    import pyarrow.csv as pa_csv

    delimiter = DELIMITERS[file.suffix.lower()]
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            head = next(csv.reader(lines, delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: its text must be UTF-8 ({first_line(error)}). Save it as that.") from error
    require_names_once([name for name in head if name], where)
    if len(head) < 2:
        raise InputError(
            f"{where}: columns must be parted by {'commas' if delimiter == ',' else 'tabs'}, but its first line is "
            f"{_short(','.join(head))}. Write it anew."
        )
    odd: list[Any] = []

    def skipped(row: Any) -> str:
        odd.append(row)
        return "skip"

    names = [name or f"\0{place}" for place, name in enumerate(head)]
    options = {
        "read_options": pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
        "parse_options": pa_csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            invalid_row_handler=skipped,
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
        ),
    }
    try:
        table = pa_csv.read_csv(file, **options)
    except pa.ArrowInvalid as error:
        if "invalid UTF8" not in str(error):
            raise
        raise InputError(f"{where}: its text must be UTF-8 ({first_line(error)}). Save it as that.") from error
    if odd:
        raise InputError(
            f"{where}, row {odd[0].number - 1}: each row must have the {odd[0].expected_columns} columns of the first "
            f"line, but it has {odd[0].actual_columns}. Mend it."
        )
    return table.select([name for name in table.column_names if name[0] != "\0"])


def require_features(names: Sequence[str], table: Sequence[str], where: str, extra: bool = False) -> None:
    """Raise if a table lacks one of the columns `names`, or, with `extra`, has further ones.

    >>> require_features(["a"], ["a", "b"], "here")
    """
    if lacks := [name for name in names if name not in table]:
        raise InputError(f"{where}: the columns of the data are needed, but it lacks {few_columns(lacks)}. Add them.")
    if extra and (more := [name for name in table if name not in names]):
        raise InputError(
            f"{where}: it must have the columns that the model was trained on, but has {few_columns(more)}, too. Drop "
            "it."
        )
