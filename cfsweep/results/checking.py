"""What of a results folder is not as it was written: `study.yaml`, the ledger, the parts of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cfsweep.errors import InputError, few, first_line
from cfsweep.reading import MOST_BYTES, parse_record
from cfsweep.results.ledger import LEDGER, Commit, Ledger, read_ledger
from cfsweep.results.reader import COPY, STUDY, is_sealed, read_committed, read_file, study_in
from cfsweep.results.schema import TABLES
from cfsweep.results.sealing import fault_of_record, fault_of_text
from cfsweep.results.stages import SELECTION


class Finding(NamedTuple):
    """A file, by path in the results folder, and what of it is not as it should be. `harmless`: nothing is lost by it,
    and who goes on with the study sets it right without another word."""

    path: str
    what: str
    harmless: bool = False


@dataclass(frozen=True)
class Place:
    """The folder `path` on the file system `fs`."""

    fs: pafs.FileSystem
    path: str

    def read(self, name: str, most: int | None = None) -> bytes | None:
        """The bytes of a file in it, at most so many; None where there is none, or no longer."""
        try:
            return read_file(self.fs, f"{self.path}/{name}", most)
        except FileNotFoundError:
            return None

    def read_study(self, name: str = STUDY) -> bytes | None:
        """Those of `study.yaml`, or of its copy. Of one that is larger than cfsweep reads, a part, whose SHA-256 is not
        what it says."""
        return self.read(name, MOST_BYTES)

    def names(self, folder: str = "") -> list[str]:
        """The names of the files in one of its folders, or in itself."""
        selector = pafs.FileSelector(f"{self.path}/{folder}".rstrip("/"), allow_not_found=True)
        return sorted(info.base_name for info in self.fs.get_file_info(selector) if info.is_file)


def check_study_file(place: Place) -> list[Finding]:
    """What is wrong with `study.yaml` and its copy."""
    content, copy = place.read_study(), place.read_study(COPY)
    found = []
    if fault := fault_of_study(content):
        found.append(Finding(STUDY, fault))
    if copy is not None and (fault := fault_of_study(copy)):
        found.append(Finding(COPY, fault))
    elif copy is None and content is not None and is_sealed(content):
        found.append(Finding(COPY, "missing: the next who goes on with the study writes it", harmless=True))
    return found


def fault_of_selection(place: Place) -> str | None:
    """What is wrong with the choice on record; None if nothing is, or nothing was chosen yet."""
    content = place.read(SELECTION, MOST_BYTES)
    if content is None:
        return None
    try:
        return fault_of_record(parse_record(content, SELECTION, ""))
    except InputError:
        return "torn or altered: it is no mapping of JSON"


def fault_of_study(content: bytes | None) -> str | None:
    """What is wrong with a `study.yaml` of these bytes; None if nothing is."""
    if content is None:
        return "missing"
    if fault := fault_of_text(content, is_sealed(content)):
        return fault
    try:
        study_in(content, "its content")
    except InputError as error:
        return f"torn or altered: {error}"
    return None


def check_ledger(place: Place, study_id: str | None) -> tuple[Ledger | None, list[Finding]]:
    """The ledger, and what is wrong with it; None where there is none, as in a folder of an earlier version."""
    ledger = read_ledger(place.fs, place.path)
    if ledger is None:
        lost = is_sealed(place.read_study() or b"")
        return None, [Finding(LEDGER, "missing")] if lost else []
    found = [Finding(LEDGER, fault) for fault in ledger.faults]
    if not found and study_id is not None and ledger.study_id != study_id:
        found.append(Finding(LEDGER, f"of study {ledger.study_id}, but study.yaml is of {study_id}"))
    if ledger.torn:
        found.append(Finding(LEDGER, "its last line is torn: a commit that did not come to its end", harmless=True))
    return ledger, found


def check_parts(place: Place, ledger: Ledger | None, is_carried: bool = False) -> tuple[int, list[Finding]]:
    """How many files there are results, and what is wrong with which. Where the folder `is_carried` to its place, the
    parts of several commits come before the ledger that names them."""
    there = [f"{table}/{name}" for table in TABLES for name in place.names(table) if name.endswith(".parquet")]
    there = [path for path in there if "/." not in path]
    if ledger is None:
        faults = {path: fault_of_part(place, path) for path in there}
        return len(there), [Finding(path, fault) for path, fault in faults.items() if fault]
    bad = faults_of_commits(place, ledger)
    found = [Finding(path, f"{fault} ({held_by(ledger, path)})") for path, fault in bad.items()]
    known = ledger.files
    unnamed = [path for path in there if path not in known]
    commits = [path for path in unnamed if path.startswith("runs/")]
    if len(commits) > 1 and not is_carried:  # a killed driver leaves one at most
        found.append(Finding(LEDGER, f"cut: no line names {len(commits)} commits whose parts are there"))
    for path in unnamed:
        fault = fault_of_part(place, path)
        what = f"unknown: no line of {LEDGER} names it, so it is no result; its writer was killed, or is at it"
        found.append(Finding(path, f"unknown, and {fault}") if fault else Finding(path, what, harmless=True))
    return len(known), found


def faults_of_commits(place: Place, ledger: Ledger) -> dict[str, str]:
    """Which of the files in the ledger are missing or altered."""
    found = {}
    for path, digest in ledger.files.items():
        try:
            fault = read_committed(place.fs, f"{place.path}/{path}", digest)[1]
        except FileNotFoundError:  # just now
            fault = "missing"
        if fault is not None:
            found[path] = fault.partition(":")[0]
    return found


def fault_of_part(place: Place, path: str) -> str | None:
    """What is wrong with a part, as far as it says itself; None if nothing is."""
    try:
        if place.fs.get_file_info(f"{place.path}/{path}").type != pafs.FileType.File:
            return "missing"
        with place.fs.open_input_file(f"{place.path}/{path}") as file:  # which nothing bounds: never all of it at once
            for _ in pq.ParquetFile(file, page_checksum_verification=True).iter_batches():
                pass
    except FileNotFoundError:
        return "missing"
    except (pa.ArrowException, OSError) as error:
        return f"torn or altered: not a readable Parquet file ({first_line(error)})"
    return None


def held_by(ledger: Ledger, path: str) -> str:
    """Which runs the commit of a file holds, in words."""
    return held(ledger.commits[ledger.commit_of[path]])


def held(commit: Commit) -> str:
    """
    >>> held(Commit(1, {}, ((3, 0), (-1, 0))))
    'with trial 3 seed 0, trial -1 seed 0'
    """
    runs = few(f"trial {trial} seed {seed}" for trial, seed in commit.runs)
    return f"with {runs}" if runs else "with rows of no run"
