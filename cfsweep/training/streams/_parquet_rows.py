"""The rows of Parquet files that stay on the disk: columns are read one by one, and rows in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfsweep.errors import InputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

_BUFFER_BYTES = 2**20  # of a column of a file that is being read


@dataclass(frozen=True)
class ParquetRows:
    """Some columns of the rows of a data set, as a table of Arrow's has them; `where` names it in what is said."""

    dataset: ds.Dataset
    schema: pa.Schema
    num_rows: int
    where: str

    def select(self, names: Sequence[str]) -> pa.Table:
        """These columns of all rows, in memory."""
        with readable(self.where):
            return self.dataset.to_table(columns=list(names))

    def blocks(self, names: Sequence[str], size: int) -> Iterator[pa.Table]:
        """These columns of all rows in their order, at most `size` rows at a time, however large the row groups."""
        import pyarrow as pa
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        schema = pa.schema([self.schema.field(name) for name in names])
        with readable(self.where):  # a data set would read whole row groups
            for fragment in self.dataset.get_fragments():
                told = ds.get_partition_keys(fragment.partition_expression)
                inside = [name for name in names if name not in told]
                with pq.ParquetFile(fragment.path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
                    for batch in file.iter_batches(size, columns=inside):
                        columns = [
                            pa.repeat(pa.scalar(told[field.name], field.type), len(batch))
                            if field.name in told
                            else batch.column(field.name)
                            for field in schema
                        ]
                        yield pa.table(columns, schema=schema)  # casts what a part has as another type


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Whatever a file may raise while it is read is one line.

    Raises:
        InputError: it is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise unreadable(where, error) from error


# What Arrow says of files that are whole, and what it means.
_SAID_OF_WHOLE = {
    "not in range": "a number must fit the type that all parts have together, but one does not ({}). Write them alike.",
    "Unable to merge": "a column must be of one type in all parts, and stand in the parts or in the names of their "
    "folders, not in both ({}). Mend or drop it.",
    "straddling object": "a row must take less than 1 MiB, but one takes more, or a quotation mark in it is not closed "
    "({}). Mend it.",
    "field larger than field limit": "the names in its first line are too long ({}). Mend it.",
}


def unreadable(where: str, error: Exception) -> InputError:
    """The one line for whatever a library raises while it reads a user's file."""
    for said, meaning in _SAID_OF_WHOLE.items():
        if said in str(error):
            return InputError(f"{where}: {meaning.format(first_line(error))}")
    return InputError(f"{where}: the file is truncated or not what its name says ({first_line(error)}). Replace it.")
