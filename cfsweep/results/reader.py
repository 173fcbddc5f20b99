"""Reads the tables of a results folder, local or remote, finished or still being written."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cfsweep.errors import InputError
from cfsweep.files import foreign_column, require_memory
from cfsweep.reading import MOST_BYTES, checked
from cfsweep.results.addresses import in_command
from cfsweep.results.ledger import LEDGER, Digest, digest_of, read_ledger
from cfsweep.results.schema import ACCURACY_SCHEMA, BUFFERS_SCHEMA, CURVES_SCHEMA, RENAMED, SCHEMA_VERSION
from cfsweep.results.sealing import fault_of_text
from cfsweep.results.study_file import StudyFile
from cfsweep.yaml_text import parse_written

RENAMED_IN = 2  # the version of the schema
JOURNALS = ("journal.log", "journal.jsonl")  # as it was called once, and now
STUDY, COPY, LAYOUT = "study.yaml", "study.copy.yaml", "layout"
LAYOUT_NOW = 2  # of a results folder: since then it has a ledger, and `study.yaml` is sealed
ALTERED = f"altered: it is not what {LEDGER} has the SHA-256 of"
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
    return bool(fs.get_file_info(f"{path}/{STUDY}").type == pafs.FileType.File)


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


@contextmanager
def told_if_unread(root: str | Path) -> Iterator[None]:
    """
    Raises:
        InputError: what lies there could not be read within it: a store is away, or rights are wanting.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{root}: cannot be read ({error}). Check the address and your credentials.") from error


def read_study(root: str | Path) -> dict[str, Any]:
    """`study.yaml` as a mapping.

    Raises:
        InputError: the folder or the file is not there, or is not a study.
    """
    fs, path = filesystem(root)
    with told_if_unread(root):
        if not _describes_itself(fs, path):
            if fs.get_file_info(f"{path}/{COPY}").type == pafs.FileType.File:
                raise damaged(root, STUDY, "missing")
            raise InputError(f"{root}: no study.yaml there. Give the folder that `cfsweep run --out` wrote.")
        content = read_small(fs, f"{path}/{STUDY}")
    if fault := fault_of_text(content, is_sealed(content)):
        raise damaged(root, STUDY, fault)
    return study_in(content, f"{root}/{STUDY}")


def study_in(content: bytes, where: str) -> dict[str, Any]:
    """The mapping in a `study.yaml` of this content.

    Raises:
        InputError: it is no YAML, or not of a study, or holds what nobody could rely on.
    """
    study = parse_written(content, where)
    if not isinstance(study, dict) or "study_id" not in study:
        raise InputError(f"{where}: it has no study_id, so it is not a study of cfsweep.")
    if isinstance(study.get(LAYOUT), int) and study[LAYOUT] > LAYOUT_NOW:
        raise InputError(
            f"{where}: its layout, {study[LAYOUT]}, is newer than {LAYOUT_NOW}, which this cfsweep reads. Upgrade it."
        )
    checked(StudyFile, study, where, "It was edited or damaged: restore it, or start a new study.")
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
    with told_if_unread(root):
        fs, path = filesystem(root)
        wanted = None if columns is None else list(dict.fromkeys([*KEY, *(["study_id"] if study_id else []), *columns]))
        rows = _all_rows(fs, path, root, table, wanted)
        if rows is None:
            return _EMPTY.get(table, pa.schema([])).empty_table()
        if study_id is not None:
            _refuse_others(rows, study_id, f"{root}/{table}")
        runs = rows if table == "runs" else _all_rows(fs, path, root, "runs", list(KEY))
    return _latest_attempts(rows, rows if runs is None else runs)


def _all_rows(
    fs: pafs.FileSystem, path: str, root: str | Path, table: str, columns: list[str] | None
) -> pa.Table | None:
    """Those of all attempts; None where there is no part."""
    names = _parts(fs, path, root, table)
    parts = [_read_part(fs, root, f"{path}/{name}", columns, digest) for name, digest in names]
    return pa.concat_tables(parts, promote_options="default") if parts else None


def _refuse_others(rows: pa.Table, study_id: str, where: str) -> None:
    others = sorted(set(rows["study_id"].to_pylist()) - {study_id}) if "study_id" in rows.column_names else []
    if others:
        raise InputError(
            f"{where}: it holds rows of study {others[0]}, but study.yaml is of {study_id}. Move the parts of each "
            "study into a folder of its own."
        )


def _parts(fs: pafs.FileSystem, path: str, root: str | Path, table: str) -> list[tuple[str, Digest | None]]:
    """The parts of a table by their path in the folder: those that are committed, with their digests; all that are
    there in a folder of an earlier version, which has no ledger.

    Raises:
        InputError: the ledger is damaged, or lost.
    """
    ledger = read_ledger(fs, path)
    if ledger is not None:
        if ledger.faults:
            raise damaged(root, LEDGER, ledger.faults[0])
        return sorted(ledger.parts(table).items())
    selector = pafs.FileSelector(f"{path}/{table}", allow_not_found=True)
    names = sorted(i.base_name for i in fs.get_file_info(selector) if i.is_file and i.extension == "parquet")
    if names and has_ledger(fs, path):
        raise damaged(root, LEDGER, "missing")
    return [(f"{table}/{name}", None) for name in names if not name.startswith(".")]


def committed_file(root: str | Path, name: str) -> bytes:
    """The bytes of a file of the folder, such as a model, as the ledger knows it; one of an earlier version as it is.

    Raises:
        InputError: it is missing, or is not what was written.
    """
    with told_if_unread(root):
        fs, path = filesystem(root)
        ledger = read_ledger(fs, path)
        digest = None if ledger is None else ledger.files.get(name)
        if digest is not None:
            return _committed(fs, root, f"{path}/{name}", name, digest)
        content = read_file(fs, f"{path}/{name}")
    if content is None:
        raise damaged(root, name, "missing")
    return content


def _committed(fs: pafs.FileSystem, root: str | Path, path: str, name: str, digest: Digest) -> bytes:
    """The bytes of the file at `path`, the `name` of the folder `root`, of which the ledger has the `digest`.

    Raises:
        InputError: it is missing, or is not what was written.
    """
    content, fault = read_committed(fs, path, digest)
    if fault is not None:
        raise damaged(root, name, fault)
    return content


def read_committed(fs: pafs.FileSystem, path: str, digest: Digest) -> tuple[bytes, str | None]:
    """The bytes of a file of which the ledger has the `digest`, or what is wrong with it. One of another size is not
    read: whatever lies there, memory need not hold it.

    Raises:
        OSError: it cannot be read.
    """
    found = fs.get_file_info(path)
    if found.type != pafs.FileType.File:
        return b"", "missing"
    if found.size is not None and found.size != digest.size:
        return b"", f"cut to {found.size} bytes" if found.size < digest.size else ALTERED
    with fs.open_input_stream(path) as file:
        content = bytes(file.read(digest.size + 1))
    return content, None if digest_of(content) == digest else ALTERED


def has_ledger(fs: pafs.FileSystem, path: str) -> bool:
    """Whether the folder `path` is of a version that writes a ledger, which is also the one that seals `study.yaml`."""
    return is_sealed(read_file(fs, f"{path}/{STUDY}", MOST_BYTES) or b"")


def is_sealed(study: bytes) -> bool:
    """Whether a `study.yaml` says that its first line has its SHA-256."""
    return b"\n%s: " % LAYOUT.encode() in study


def read_file(fs: pafs.FileSystem, path: str, most: int | None = None) -> bytes | None:
    """The bytes of a file, the first `most` of them alone if that is given; None where there is none.

    Raises:
        InputError: it is larger than what is read.
        OSError: it cannot be read.
    """
    info = fs.get_file_info(path)
    if info.type != pafs.FileType.File:
        return None
    if most is None:
        require_memory(info.size, path)
    with fs.open_input_stream(path) as file:
        return bytes(file.read(most))


def damaged(root: str | Path, name: str, what: str) -> InputError:
    """The one line for a file of the results folder that is not as it was written."""
    return InputError(
        f"{root}/{name}: {what}. `cfsweep repair {in_command(root)}` sets right what is damaged; going on with the "
        "study then trains again what is lost."
    )


def _read_part(
    fs: pafs.FileSystem, root: str | Path, path: str, columns: list[str] | None, digest: Digest | None
) -> pa.Table:
    """The part at `path` in the folder, which is read whole where it has a `digest`, as that is of all of it."""
    name = "/".join(path.rsplit("/", 2)[-2:])
    if digest is not None:
        source: pa.NativeFile = pa.BufferReader(_committed(fs, root, path, name, digest))
    elif fs.get_file_info(path).type != pafs.FileType.File:
        raise damaged(root, name, "missing")
    else:
        source = fs.open_input_file(path)
    try:
        # Not pq.read_table: that takes a folder called `seed=1` in the path for a partition, and adds a column.
        parts = pq.ParquetFile(source, page_checksum_verification=True)
        foreign = foreign_column(parts.schema_arrow)
        if foreign is not None:
            raise InputError(f"{name}: cfsweep wrote no column {foreign}, and does not read it. Remove the part.")
        version = int((parts.schema_arrow.metadata or {}).get(b"cfsweep_schema_version", b"0"))
        then = {now: before for before, now in RENAMED.items()} if version < RENAMED_IN else {}
        part = parts.read(None if columns is None else [then.get(column, column) for column in columns])
    except (pa.ArrowException, OSError) as error:
        raise damaged(root, name, f"not a readable Parquet file ({error})") from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, which this cfsweep reads. Upgrade it."
        )
    return part.rename_columns([RENAMED.get(column, column) for column in part.column_names]) if then else part


def _latest_attempts(rows: pa.Table, runs: pa.Table) -> pa.Table:
    """`rows` without those of a run that a later attempt replaced; one that is in `runs` may have none of its own."""
    keys = ["trial", "seed"]
    attempts = pa.concat_tables([rows.select(KEY), runs.select(KEY)], promote_options="default")
    joined = rows.join(attempts.group_by(keys).aggregate([("attempt", "max")]), keys)
    return joined.filter(pc.equal(joined["attempt"], joined["attempt_max"])).drop_columns(["attempt_max"])
