"""Writes part files, each one whole or not there at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cfsweep.files import write_atomically


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
