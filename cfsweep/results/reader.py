"""Reads the tables of a results folder, local or remote, finished or still being written."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cfsweep.errors import InputError
from cfsweep.reading import MOST_BYTES, checked
from cfsweep.results.schema import ACCURACY_SCHEMA, BUFFERS_SCHEMA, CURVES_SCHEMA, RENAMED, SCHEMA_VERSION
from cfsweep.results.study_file import StudyFile
from cfsweep.yaml_text import parse_written

RENAMED_IN = 2  # the version of the schema
KEY = ("trial", "seed", "attempt")
_EMPTY = {"accuracy": ACCURACY_SCHEMA, "test": ACCURACY_SCHEMA, "curves": CURVES_SCHEMA, "buffers": BUFFERS_SCHEMA}


def filesystem(root: str | Path) -> tuple[pafs.FileSystem, str]:
    """The file system and the path inside it for a local path or a URI such as `s3://bucket/folder`.

    Raises:
        InputError: the URI names no file system that pyarrow knows.
    """
    if "://" in str(root):
        try:
            found, path = pafs.FileSystem.from_uri(str(root))
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{root}: not a place that can be read ({error}). Give a folder, or s3://bucket/folder."
            ) from error
        return found, path
    return pafs.LocalFileSystem(), str(Path(root).absolute())


def is_study(root: str | Path) -> bool:
    """Whether there is a study in `root`, as far as can be seen: a place that cannot be read holds none."""
    try:
        return _describes_itself(*filesystem(root))
    except OSError:
        return False


def _describes_itself(fs: pafs.FileSystem, path: str) -> bool:
    return bool(fs.get_file_info(f"{path}/study.yaml").type == pafs.FileType.File)


def read_small(fs: pafs.FileSystem, path: str) -> bytes:
    """The content of a file that is held in memory.

    Raises:
        InputError: it is far larger than cfsweep writes one.
    """
    size = fs.get_file_info(path).size or 0
    if size > MOST_BYTES:
        raise InputError(f"{path}: it has {size} bytes, and {MOST_BYTES} are the most. Restore the file.")
    with fs.open_input_stream(path) as file:
        return bytes(file.read())


def read_study(root: str | Path) -> dict[str, Any]:
    """`study.yaml` as a mapping.

    Raises:
        InputError: the folder or the file is not there, or is not a study.
    """
    fs, path = filesystem(root)
    try:
        there = _describes_itself(fs, path)
    except OSError as error:
        raise InputError(f"{root}: cannot be read ({error}). Check the address and your credentials.") from error
    if not there:
        raise InputError(f"{root}: no study.yaml there. Give the folder that `cfsweep run --out` wrote.")
    study = parse_written(read_small(fs, f"{path}/study.yaml"), f"{root}/study.yaml")
    if not isinstance(study, dict) or "study_id" not in study:
        raise InputError(f"{root}/study.yaml: it has no study_id, so it is not a study of cfsweep.")
    checked(StudyFile, study, f"{root}/study.yaml", "It was edited or damaged: restore it, or start a new study.")
    return study


def read_table(
    root: str | Path, table: str, columns: Collection[str] | None = None, study_id: str | None = None
) -> pa.Table:
    """All rows of one table, the latest attempt of each run only; no rows yet gives an empty table.

    Parts may differ in columns (an older schema): the union is read, absent columns are null. `columns` are those to
    read beside trial, seed and attempt (None: all). With a `study_id` all rows are to be of this study: those of
    another one would pass for its trials.

    Raises:
        InputError: a part was written by a newer cfsweep, is not a Parquet file, or is of another study.
    """
    fs, path = filesystem(root)
    selector = pafs.FileSelector(f"{path}/{table}", allow_not_found=True)
    names = sorted(i.path for i in fs.get_file_info(selector) if i.is_file and i.path.endswith(".parquet"))
    wanted = None if columns is None else list(dict.fromkeys([*KEY, *(["study_id"] if study_id else []), *columns]))
    parts = [_read_part(fs, name, wanted) for name in names]
    if not parts:
        return _EMPTY.get(table, pa.schema([])).empty_table()
    rows = pa.concat_tables(parts, promote_options="default")
    if study_id is not None:
        _refuse_others(rows, study_id, f"{root}/{table}")
    return _latest_attempts(rows)


def _refuse_others(rows: pa.Table, study_id: str, where: str) -> None:
    others = sorted(set(rows["study_id"].to_pylist()) - {study_id}) if "study_id" in rows.column_names else []
    if others:
        raise InputError(
            f"{where}: it holds rows of study {others[0]}, but study.yaml is of {study_id}. Move the parts of each "
            "study into a folder of its own."
        )


def _read_part(fs: pafs.FileSystem, name: str, columns: list[str] | None) -> pa.Table:
    try:
        # Not pq.read_table: that takes a folder called `seed=1` in the path for a partition, and adds a column.
        with fs.open_input_file(name) as file:
            content = pq.ParquetFile(file)
            version = int((content.schema_arrow.metadata or {}).get(b"cfsweep_schema_version", b"0"))
            then = {now: before for before, now in RENAMED.items()} if version < RENAMED_IN else {}
            part = content.read(None if columns is None else [then.get(column, column) for column in columns])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{name}: not a readable Parquet file ({error}). Remove it; `cfsweep resume` trains its runs again."
        ) from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{name}: schema version {version} is newer than {SCHEMA_VERSION}, which this cfsweep reads. Upgrade it."
        )
    return part.rename_columns([RENAMED.get(column, column) for column in part.column_names]) if then else part


def _latest_attempts(rows: pa.Table) -> pa.Table:
    """`rows` without those of a run that a later attempt replaced."""
    keys = ["trial", "seed"]
    latest = rows.group_by(keys).aggregate([("attempt", "max")])
    joined = rows.join(latest, keys)
    return joined.filter(pc.equal(joined["attempt"], joined["attempt_max"])).drop_columns(["attempt_max"])
