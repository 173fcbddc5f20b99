"""Writes part files, each one whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Calls `write` on a temporary file beside `path`, syncs it, and renames it to `path`.

    A reader sees the old content or the new, never a part; after a crash at most a `.tmp` file is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_part(root: Path, table: str, part: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> Path | None:
    """Writes `rows` as `root/table/part.parquet` and returns its path; no rows, no file, None.

    The same part written twice is one part: the second replaces the first.
    """
    if not rows:
        return None
    path = root / table / f"{part}.parquet"
    content = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_atomically(path, lambda file: pq.write_table(content, file, compression="zstd"))
    return path
