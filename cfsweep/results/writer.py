"""Writes part files, each one whole or not there at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cfsweep.files import write_atomically

Row = Mapping[str, Any]


def write_part(root: Path, table: str, part: str, rows: Sequence[Row], schema: pa.Schema) -> Path | None:
    """Writes `rows` as `root/table/part.parquet` and returns its path; no rows, no file, None.

    The same part written twice is one part: the second replaces the first.

    Raises:
        ValueError: a row has other keys than the schema: a value would be lost, or be null without a reason.
    """
    if not rows:
        return None
    names = set(schema.names)
    for row in rows:
        if row.keys() != names:
            raise ValueError(
                f"{table}/: a row must have exactly the columns of the schema, but lacks "
                f"{sorted(names - row.keys())} and has besides {sorted(row.keys() - names)}"
            )
    path = root / table / f"{part}.parquet"
    content = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_atomically(path, lambda file: pq.write_table(content, file, compression="zstd"))
    return path


class PendingRows:
    """Rows of several reports that wait to be written together, as one part per table, named like the first report."""

    def __init__(self, root: Path, schemas: Mapping[str, pa.Schema]) -> None:
        self.root, self.schemas = root, schemas
        self.part: str | None = None
        self.rows: dict[str, list[Row]] = {}

    def add(self, part: str, tables: Mapping[str, Sequence[Row]]) -> None:
        """Takes in the rows of one report, by table."""
        self.part = self.part or part
        for table, rows in tables.items():
            self.rows.setdefault(table, []).extend(rows)

    def write(self) -> None:
        """Writes the tables in the order in which they came with the first report."""
        for table, rows in self.rows.items():
            write_part(self.root, table, str(self.part), rows, self.schemas[table])
        self.part, self.rows = None, {}
