"""Files of CSV as columns of texts, read batch by batch; where they are large, as Parquet in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfsweep.errors import InputError, first_line, short
from cfsweep.training.streams._cache import cached_file
from cfsweep.training.streams._columns import columns_apart, require_names_once
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._parquet_rows import ParquetRows, readable
from cfsweep.visible import tell

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FORMAT = 1  # of how Parquet comes from CSV; another one has other names


@dataclass(frozen=True)
class CsvPart:
    """One file: `head` are the names in its first line, `names` the columns in the order of the first file."""

    file: Path
    head: tuple[str, ...]
    names: tuple[str, ...]
    where: str

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([(name, pa.string()) for name in self.names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows as texts; a column without a name, as pandas writes its index, is left out.

        Raises:
            InputError: a row has more or fewer columns than the first line, or the text is not UTF-8.
        """
        import pyarrow as pa
        import pyarrow.csv as pa_csv

        odd: list[Any] = []

        def skipped(row: Any) -> str:
            odd.append(row)
            return "skip"

        names = [name or f"\0{place}" for place, name in enumerate(self.head)]
        options = {
            "read_options": pa_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1),
            "parse_options": pa_csv.ParseOptions(
                delimiter=DELIMITERS[self.file.suffix.lower()],
                newlines_in_values=True,
                invalid_row_handler=skipped,
            ),
            "convert_options": pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        }
        try:
            with pa_csv.open_csv(self.file, **options) as reader:
                for batch in reader:
                    yield batch.select(list(self.names))
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error) or "Could not skip initial" in str(error):  # the first line is all there is
                return
            if "invalid UTF8" not in str(error):
                raise
            raise _no_text(self.where, error) from error
        if odd:
            raise InputError(
                f"{self.where}, row {odd[0].number - 1}: each row must have the {odd[0].expected_columns} columns of "
                f"the first line, but it has {odd[0].actual_columns}. Mend it."
            )


def csv_parts(files: Sequence[Path], where: str) -> list[CsvPart]:
    """The files of one table.

    Raises:
        InputError: they have not the same columns, or one has no first line with columns.
    """
    places = [where if len(files) == 1 else f"{where}, {file.name}" for file in files]
    heads = [_head(file, place) for file, place in zip(files, places, strict=True)]
    named = [[name for name in head if name] for head in heads]
    for file, names in zip(files, named, strict=True):
        if set(names) != set(named[0]):
            raise InputError(
                f"{where}: its parts must have the same columns, but beside {files[0].name}, {file.name} "
                f"{columns_apart(named[0], names)}. Write them alike."
            )
    return [CsvPart(file, head, tuple(named[0]), at) for file, head, at in zip(files, heads, places, strict=True)]


def staged(parts: Sequence[CsvPart], digests: Sequence[str], where: str) -> tuple[ParquetRows, list[int]]:
    """The rows of all files, each as Parquet in the cache by the digest of its content, and how many each has.

    Raises:
        InputError: as `CsvPart.batches`, or the cache cannot be written to.
    """
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    def write(path: Path, part: CsvPart) -> None:
        tell(f"{part.file} is large; it is written as Parquet into the cache once, and read from there")
        with pq.ParquetWriter(path, part.schema) as writer, readable(part.where):
            for batch in part.batches():
                writer.write_batch(batch)

    paths = []
    for part, digest in zip(parts, digests, strict=True):
        key = hashlib.sha256(json.dumps([_FORMAT, digest, part.names]).encode()).hexdigest()[:32]
        paths.append(cached_file("tables", key, ".parquet", sha256, partial(write, part=part))[0])
    counts = [pq.read_metadata(path).num_rows for path in paths]
    found = ds.dataset([str(path) for path in paths], schema=parts[0].schema, format="parquet")
    return ParquetRows(found, parts[0].schema, sum(counts), where), counts


def _head(file: Path, where: str) -> tuple[str, ...]:
    """The names in the first line."""
    import csv

    delimiter = DELIMITERS[file.suffix.lower()]
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            head = next(csv.reader(lines, delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise _no_text(where, error) from error
    require_names_once([name for name in head if name], where)
    # One column is all that a model of texts is asked with; another mark in its name is what parts the columns.
    if not head or (len(head) == 1 and any(mark in head[0] for mark in ",;|\t")):
        raise InputError(
            f"{where}: columns must be parted by {'commas' if delimiter == ',' else 'tabs'}, but its first line is "
            f"{short(','.join(head))}. Write it anew."
        )
    return tuple(head)


def _no_text(where: str, error: Exception) -> InputError:
    return InputError(f"{where}: its text must be UTF-8 ({first_line(error)}). Save it as that.")
