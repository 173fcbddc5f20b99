"""Writes part files, each one whole or not there at all, and commits them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cfsweep.files import write_atomically
from cfsweep.results.ledger import Digest, LedgerWriter, digest_of

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
    # With checksums for other programs and for who has lost the ledger, which has that of the whole file.
    written = pa.BufferOutputStream()
    pq.write_table(content, written, compression="zstd", write_page_checksum=True)
    write_atomically(path, lambda file: file.write(written.getvalue()))
    return path


class PendingRows:
    """Rows of several reports that wait to be written together, as one part per table, named like the first report: one
    commit of the `ledger`, where the folder has one."""

    def __init__(self, root: Path, schemas: Mapping[str, pa.Schema], ledger: LedgerWriter | None = None) -> None:
        self.root, self.schemas, self.ledger = root, schemas, ledger
        self.part: str | None = None
        self.rows: dict[str, list[Row]] = {}
        self.beside: list[Path] = []

    def add(self, part: str, tables: Mapping[str, Sequence[Row]], beside: Iterable[Path] = ()) -> None:
        """Takes in the rows of one report, by table, and the files that were written before for its runs."""
        self.part = self.part or part
        self.beside += beside
        for table, rows in tables.items():
            self.rows.setdefault(table, []).extend(rows)

    def write(self) -> None:
        """Writes the tables in the order in which they came with the first report; after an error it may be called
        again."""
        tables = self.rows.items()
        found = [write_part(self.root, table, str(self.part), rows, self.schemas[table]) for table, rows in tables]
        written = [path for path in (*found, *self.beside) if path is not None]
        if written and self.ledger is not None:
            runs = self.rows.get("runs", ())
            keys, attempts = [(row["trial"], row["seed"]) for row in runs], [row["attempt"] for row in runs]
            self.ledger.commit(digests(self.root, written), keys, max(attempts, default=1))
        self.part, self.rows, self.beside = None, {}, []


def digests(root: Path, paths: Iterable[Path]) -> dict[str, Digest]:
    """Those of the files in `root`, by path in it."""
    return {path.relative_to(root).as_posix(): digest_of(path.read_bytes()) for path in paths}
