"""The ledger of a results folder, `commits.jsonl`: which parts of its tables are results, each with its SHA-256.

What is written together is one commit: first its parts, for each table one of the same name, then a line of the ledger.
A part that no line names is no result: its writer was killed, or has not come so far. A line may also take earlier
commits back, whose parts were damaged. Each line says what it follows on, so that none can be lost unseen but from the
end, where what is then without a line shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow.fs as pafs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cfsweep.files import append_whole, require_memory, write_atomically
from cfsweep.results.sealing import opened_line, sealed_line

LEDGER = "commits.jsonl"
_NAME = re.compile(r"[\w-][\w.=+-]*")
Key = tuple[int, int]
"""(trial, seed) of a run."""


class Digest(NamedTuple):
    """Of a file: its SHA-256 in hex, and its size in bytes."""

    sha256: str
    size: int


def digest_of(content: bytes) -> Digest:
    """That of these bytes."""
    return Digest(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class Commit:
    """What was written together: the `files`, by path in the folder, the runs whose rows they hold, and the latest
    attempt of these."""

    number: int
    files: Mapping[str, Digest]
    runs: tuple[Key, ...] = ()
    attempt: int = 1


@dataclass
class Ledger:
    """What a ledger says: the commits in effect, in order, and those that were taken back; what is wrong with it, line
    by line, in words; `torn`: so many bytes at its end are of a line that was not finished."""

    study_id: str | None = None
    commits: dict[int, Commit] = field(default_factory=dict)
    taken_back: dict[int, Commit] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    torn: int = 0
    size: int = 0
    n_lines: int = 0  # the number of the next line
    last_check: str = ""

    @property
    def files(self) -> dict[str, Digest]:
        """The files that hold results, by path in the folder; of what was written twice the later."""
        return {path: digest for commit in self.commits.values() for path, digest in commit.files.items()}

    @property
    def commit_of(self) -> dict[str, int]:
        """The commit of each of these files."""
        return {path: number for number, commit in self.commits.items() for path in commit.files}

    @property
    def next_attempt(self) -> int:
        """With which runs are trained whose commits were taken back."""
        return 1 + max((commit.attempt for commit in self.taken_back.values()), default=0)

    def parts(self, table: str) -> dict[str, Digest]:
        """Those of one table."""
        return {path: digest for path, digest in self.files.items() if path.startswith(f"{table}/")}

    def take_in(self, entry: Mapping[str, Any]) -> None:
        """Takes in what a line says.

        Raises:
            KeyError: of a commit it says too little.
        """
        if "files" in entry:
            files = {path: Digest(*digest) for path, digest in entry["files"].items()}
            runs = tuple((trial, seed) for trial, seed in entry["runs"])
            self.commits[entry["n"]] = Commit(entry["n"], files, runs, entry["attempt"])
        for number in entry.get("taken_back", ()):
            if number in self.commits:
                self.taken_back[number] = self.commits.pop(number)
        self.study_id = entry.get("study_id", self.study_id)
        self.n_lines = entry["n"] + 1


def _inside(path: str) -> str:
    folder, _, name = path.partition("/")
    if not _NAME.fullmatch(folder) or not _NAME.fullmatch(name):
        raise ValueError(f"{path!r} is no file in a folder of a results folder")
    return path


_Counted = Annotated[int, Field(ge=0, le=2**53)]
_Column = Annotated[int, Field(ge=-(2**31), lt=2**31 - 1)]  # of the tables, which also hold the attempt after it


class _Line(BaseModel):
    """What a line may say: somebody else may have written it. No line says all of it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    n: _Counted
    before: str
    study_id: str = ""
    files: dict[Annotated[str, AfterValidator(_inside)], tuple[str, _Counted]] = {}
    runs: list[tuple[_Column, _Column]] = []
    attempt: _Column = 1
    taken_back: list[_Counted] = []


def read_ledger(fs: pafs.FileSystem, root: str) -> Ledger | None:
    """That of the folder `root` on `fs`, whole or not; None where there is none.

    Raises:
        InputError: it is larger than what is read.
        OSError: it cannot be read.
    """
    info = fs.get_file_info(f"{root}/{LEDGER}")
    if info.type != pafs.FileType.File:
        return None
    require_memory(info.size, info.path)
    with fs.open_input_stream(f"{root}/{LEDGER}") as file:
        return parsed(file.read())


def parsed(content: bytes) -> Ledger:
    """What the bytes of a ledger say."""
    found = Ledger(size=len(content))
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            found.torn = len(line)
            break
        opened = opened_line(line)
        if opened is None or sealed_line(opened[0])[1] != opened[1]:
            found.faults.append(f"line {number} is altered")
            continue
        first, before = found.n_lines == 0, found.last_check
        try:
            entry = _Line.model_validate_json(opened[0]).model_dump(exclude_unset=True)
            found.take_in(entry)
        except (ValueError, KeyError):
            found.faults.append(f"line {number} is none of a ledger")
            continue
        gone = "study_id" not in entry if first else entry["before"] != before
        if (gone or entry["n"] != number - 1) and not found.faults:
            found.faults.append(f"lines before line {number} are gone")
        found.last_check = opened[1]
    if not found.n_lines and not found.faults:
        found.faults.append("it is empty")
    return found


class LedgerWriter:
    """Appends to the ledger of the folder `root`, which nobody else writes to meanwhile."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.path, self.ledger = root / LEDGER, ledger

    def append(self, *entries: Mapping[str, Any]) -> None:
        """Adds a line for each of the entries, synced, all of them or none.

        Raises:
            OSError: it cannot be written to; then it is as before.
        """
        now = self.ledger
        lines, last = _lines(entries, now.n_lines, now.last_check)
        at = now.size - now.torn
        append_whole(self.path, lines, at)
        for entry in entries:
            now.take_in({"n": now.n_lines, **entry})
        now.last_check, now.size, now.torn = last, at + len(lines), 0

    def commit(self, files: Mapping[str, Digest], runs: Iterable[Key], attempt: int) -> None:
        """Makes the files, all of which are written, results."""
        self.append(commit_entry(files, runs, attempt))

    def take_back(self, numbers: Sequence[int]) -> None:
        """Makes the files of these commits no results."""
        self.append({"taken_back": list(numbers)})


def commit_entry(files: Mapping[str, Digest], runs: Iterable[Key], attempt: int) -> dict[str, Any]:
    """What the line of a commit says."""
    return {"files": files, "runs": sorted(set(runs)), "attempt": attempt}


def begin_ledger(root: Path, study_id: str, entries: Sequence[Mapping[str, Any]] = ()) -> LedgerWriter:
    """Writes the ledger anew, with these entries, and opens it."""
    content, _ = _lines([{"study_id": study_id}, *entries], 0, "")
    write_atomically(root / LEDGER, lambda file: file.write(content))
    return LedgerWriter(root, parsed(content))


def _lines(entries: Iterable[Mapping[str, Any]], number: int, before: str) -> tuple[bytes, str]:
    """The lines of these entries, numbered from `number`, and the check of the last one."""
    lines = []
    for n, entry in enumerate(entries, number):
        line, before = sealed_line(json.dumps({"n": n, **entry, "before": before}, separators=(",", ":")).encode())
        lines.append(line)
    return b"".join(lines), before
