"""Opens the ledger of a results folder to write: what a killed writer left without a line is finished, or removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cfsweep.files import read_bounded
from cfsweep.results.ledger import LEDGER, Ledger, LedgerWriter, begin_ledger, commit_entry, parsed
from cfsweep.results.reader import KEY, STUDY, damaged, is_sealed
from cfsweep.results.schema import TABLES, model_path
from cfsweep.results.writer import digests


def open_ledger(root: Path, study_id: str) -> LedgerWriter:
    """The ledger of the study in the folder `root`, which the caller holds. It is begun where there is none, as an
    earlier version wrote none: with all parts that are there.

    Of parts that no line names a commit is made where all are there, `runs/` being written last; the others are
    removed, as what they hold is trained again.

    Raises:
        InputError: the ledger is damaged or lost, or a part without a line cannot be read.
    """
    path = root / LEDGER
    ledger = parsed(read_bounded(path)) if path.exists() else None
    if ledger is not None and not ledger.commits and ledger.n_lines < 2 and not parts_in(root):
        ledger = None  # of a driver that was killed where it began
    if ledger is None:
        if parts_in(root) and is_sealed(_content(root / STUDY)):
            raise damaged(root, LEDGER, "missing")
        return begin_ledger(root, study_id, [entry_of(root, paths) for paths in by_name(parts_in(root)).values()])
    if ledger.faults:
        raise damaged(root, LEDGER, ledger.faults[0])
    if ledger.study_id != study_id:
        raise damaged(root, LEDGER, f"it is of study {ledger.study_id}, not {study_id}")
    writer = LedgerWriter(root, ledger)
    if ledger.torn:
        writer.append()
    finished, halves = unnamed(root, ledger, study_id)
    if finished:
        writer.append(*finished)
    for half in halves:
        half.unlink()
    return writer


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def parts_in(root: Path) -> list[Path]:
    """All parts of the tables, in a fixed order."""
    return [path for table in TABLES for path in sorted((root / table).glob("*.parquet"))]


def by_name(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The parts of one commit have one name."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(path.stem, []).append(path)
    return found


def unnamed(root: Path, ledger: Ledger, study_id: str) -> tuple[list[dict[str, Any]], list[Path]]:
    """Of the parts that no line names: the entries of those that are whole commits, and the parts of such as have no
    `runs/`. Parts of other studies, and of runs that the ledger has of this attempt or a later one, are in neither.

    Raises:
        InputError: one cannot be read.
    """
    known = ledger.files
    attempts = {run: commit.attempt for commit in ledger.commits.values() for run in commit.runs}
    paths = [path for path in parts_in(root) if path.relative_to(root).as_posix() not in known]
    finished, halves = [], []
    for own in by_name(paths).values():
        if not are_of(study_id, root, own):
            continue
        entry = entry_of(root, own)
        if any(attempts.get(run, 0) >= entry["attempt"] for run in entry["runs"]):
            continue
        if any(path.parent.name == "runs" for path in own):
            finished.append(entry)
        else:
            halves += own
    return finished, halves


def are_of(study_id: str, root: Path, paths: Iterable[Path]) -> bool:
    """Whether all rows of these parts are of the study.

    Raises:
        InputError: one cannot be read.
    """
    tables = (whole_part(path, root) for path in paths)
    return all("study_id" in of.column_names and set(of["study_id"].to_pylist()) == {study_id} for of in tables)


def entry_of(root: Path, paths: Collection[Path]) -> dict[str, Any]:
    """The entry of the commit of these parts, and of the models of its runs, which come before them.

    Raises:
        InputError: one cannot be read.
    """
    keys: set[tuple[int, int]] = set()
    attempt = 1
    for path in paths:
        rows = whole_part(path, root)
        found = set(zip(*(rows[name].to_pylist() for name in KEY), strict=True))
        keys |= {(trial, seed) for trial, seed, _ in found} if path.parent.name == "runs" else set()
        attempt = max(attempt, *(number for *_, number in found))
    models = [path for key in sorted(keys) if (path := model_path(root, key)).exists()]
    return commit_entry(digests(root, [*paths, *models]), keys, attempt)


def whole_part(path: Path, root: Path) -> pa.Table:
    """The part, of which every page is what its checksum says, if it has any.

    Raises:
        InputError: it is not.
    """
    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        name = path.relative_to(root).as_posix()
        raise damaged(root, name, f"not a readable Parquet file ({error})") from error
