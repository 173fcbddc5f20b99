"""A table as it lies in a file of CSV or Parquet, in a folder of parts, or in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfsweep.errors import InputError, first_line, short
from cfsweep.training.streams._cache import is_large
from cfsweep.training.streams._columns import few_columns, require_names_once
from cfsweep.training.streams._csv import DELIMITERS, csv_parts, staged
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._parquet import index_columns, parquet_dataset, parquet_table, part_files
from cfsweep.training.streams._parquet_rows import ParquetRows, readable
from cfsweep.training.streams._table_settings import SUFFIXES, Kind
from cfsweep.training.streams._typed import READ, Floats, Misfit, Words, one_array, words

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST = 1e150  # whose square is a float, as deviations need it
_BLOCK_VALUES = 2**21  # of a block, which takes some multiples of 8 bytes for each


@dataclass(frozen=True)
class Raw:
    """A table as it was written: all of CSV are texts, `untyped`, all of Parquet as its types say; in memory, or on the
    disk. `where` names it in what is said; `parts` are its files, by name with their numbers of rows, none for a table
    in memory. Of a block of a table `first_row` is the number of its first row there."""

    table: pa.Table | ParquetRows
    where: str
    parts: tuple[tuple[str, int], ...] = ()
    untyped: bool = False
    first_row: int = 0

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        found: list[str] = self.table.schema.names
        return found

    def in_memory(self, name: str) -> Raw:
        """The one column, read."""
        return replace(self, table=self.table.select([name]))

    def blocks(self, names: Sequence[str], width: int) -> Iterator[Raw]:
        """These columns of all rows in their order, so many rows at a time as take little memory where each is, or
        becomes, `width` numbers."""
        size, first = max(1, _BLOCK_VALUES // width), 0
        if isinstance(self.table, ParquetRows):
            blocks = self.table.blocks(names, size)
        else:
            chosen = self.table.select(names)
            blocks = (chosen.slice(at, size) for at in range(0, len(self), size))
        for block in blocks:
            yield replace(self, table=block, first_row=first)
            first += len(block)

    def column(self, name: str) -> pa.Array:
        """All rows of a column in one piece.

        Raises:
            InputError: it is of more text than Arrow has in one piece, or of bytes that are none.
        """
        import pyarrow as pa

        column = self.table.select([name]).column(0)
        try:
            found = one_array(column)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.where}, column `{name}`: a column of texts must take less than 2 GiB, but this one takes more. "
                "Write numbers as such, into Parquet, and drop long texts."
            ) from error
        try:
            found.validate(full=True)  # a file may say that any bytes are a text
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.where}, column `{name}`: its text must be UTF-8 ({first_line(error)}). Write it anew."
            ) from error
        return found

    def holds_words(self, name: str) -> bool:
        """Whether a column is of texts or booleans by its type, not for want of one."""
        import pyarrow as pa

        kind = one_array(pa.chunked_array([], self.table.schema.field(name).type)).type
        return not self.untyped and bool(pa.types.is_string(kind) or pa.types.is_boolean(kind))

    def values(self, name: str, kind: Kind, remedy: str) -> Floats:
        """The column as numbers, NaN where one is missing.

        Raises:
            InputError: a value does not fit; the line ends with the `remedy`.
        """
        try:
            found = READ[kind](self.column(name))
        except Misfit as odd:
            raise self.misfit(name, odd, remedy) from odd
        if len(large := np.flatnonzero(np.abs(found) > LARGEST)):
            at = int(large[0])
            raise self.misfit(name, Misfit(at, found[at], f"numbers up to {LARGEST:g} are needed"), remedy)
        return found

    def words(self, name: str, remedy: str = "Drop it.") -> Words:
        """The column as words, None where one is missing. Raises as `values`."""
        try:
            return words(self.column(name))
        except Misfit as odd:
            raise self.misfit(name, odd, remedy) from odd

    def misfit(self, name: str, odd: Misfit, remedy: str) -> InputError:
        return self.error(name, odd.row, f"{odd.rule}, but got {short(odd.value)}", remedy)

    def error(self, name: str, row: int, what: str, remedy: str) -> InputError:
        """The line for a value; rows are counted from 1 in their file, the header not among them."""
        row += self.first_row
        part, number = "", row
        if len(self.parts) > 1:
            ends = np.cumsum([0, *(n for _, n in self.parts)])
            which = int(np.searchsorted(ends, row, "right")) - 1
            part, number = f", {self.parts[which][0]}", row - int(ends[which])
        return InputError(f"{self.where}{part}, column `{name}`, row {number + 1}: {what}. {remedy}")


def read_table(path: Path, where: str) -> tuple[Raw, dict[str, str]]:
    """The table in a file or in a folder of parts, and the SHA-256 of each file by its name. What would take much
    memory stays on the disk; a CSV file lies in the cache as Parquet then.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    files = table_files(path)
    if not files:
        raise InputError(f"{where}: no table is there. Give a .csv, .tsv or .parquet file, or a folder with its parts.")
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) > 1:
        raise InputError(f"{where}: the parts of a table must be of one kind, but are {', '.join(sorted(kinds))}.")
    with readable(where):
        named = {_name(file, path): sha256(file) for file in files}
        if kinds == {".parquet"}:
            found = _from_parquet(path, files, where)
        else:
            found = _from_csv(files, list(named.values()), where)
    if not len(found):
        raise InputError(f"{where}: a table needs rows, but there is none. Add some.")
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_dataset(path, where).schema
    left_out = index_columns(schema)
    kept = [name for name in schema.names if name not in left_out]
    require_names_once(kept, where)
    parts = tuple((file.name, pq.read_metadata(file).num_rows) for file in files)
    n_rows = sum(n for _, n in parts)
    if is_large(4 * n_rows * len(kept)):
        fields = pa.schema([schema.field(name) for name in kept])
        return Raw(ParquetRows(parquet_dataset(path, where), fields, n_rows, where), where, parts)
    return Raw(parquet_table(path, where).select(kept), where, parts)


def _from_csv(files: Sequence[Path], digests: Sequence[str], where: str) -> Raw:
    import pyarrow as pa

    texts = csv_parts(files, where)
    if is_large(sum(file.stat().st_size for file in files)):
        rows, counts = staged(texts, digests, where)
    else:
        tables = [pa.Table.from_batches(text.batches(), text.schema) for text in texts]
        rows, counts = pa.concat_tables(tables), [len(table) for table in tables]
    parts = tuple((file.name, n) for file, n in zip(files, counts, strict=True))
    return Raw(rows, where, parts, untyped=True)


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
