"""Which files of a study are carried to a store, and which before which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cfsweep.results.carried import Seen
from cfsweep.results.ledger import LEDGER
from cfsweep.results.reader import JOURNALS
from cfsweep.results.schema import TABLES

CHECKPOINTS = "checkpoints"
INSIDE = ("confirmed", "refitted")  # studies within a study
# What the analysis writes, straight into the store: it is fetched, and never carried.
SELECTION = "selection.json"
OF_THE_ANALYSIS = (SELECTION, "report.html", "front.parquet")
# What is carried before what: whoever finds the later ones may rely on the earlier ones.
LAST_STAGE = 4


def grows(name: str) -> bool:
    """Whether a file is only ever written to at its end."""
    return name.rpartition("/")[2] in (*JOURNALS, LEDGER)


def stage_of(name: str) -> int:
    """In which turn a file is carried, from 0 to `LAST_STAGE`.

    >>> [stage_of(name) for name in ("study.yaml", "journal.jsonl", "checkpoints/pack000001.pt")]
    [0, 1, 2]
    >>> stage_of("confirmed/runs/a.parquet"), stage_of("confirmed/commits.jsonl")
    (3, 4)
    """
    *folders, file = name.split("/")
    if file in JOURNALS:
        return 1
    if file == LEDGER:
        return 4
    if folders and folders[-1] in TABLES:
        return 3
    return 2 if folders and folders[-1] not in INSIDE else 0


def is_hidden(name: str) -> bool:
    """Whether it is of the writers', or of a write that is under way."""
    return any(part.startswith(".") for part in name.split("/")) or ".lock" in name.rpartition("/")[2]


def is_checkpoint(name: str) -> bool:
    """Whether it is of a pack on its way, which goes when that is over."""
    return name.split("/")[-2:-1] == [CHECKPOINTS]


def is_of_analysis(name: str) -> bool:
    """Whether the analysis writes it, into the store itself."""
    return name.rpartition("/")[2] in OF_THE_ANALYSIS


def listed(folder: Path) -> Iterator[tuple[str, Seen, bool]]:
    """What is to be carried of a folder: each name, how it looks now, and whether it is a folder. What goes meanwhile
    is left out."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name) or is_of_analysis(entry.name):
                continue
            with suppress(FileNotFoundError):
                about = entry.stat()
                yield entry.name, Seen(about.st_size, about.st_mtime_ns), entry.is_dir()
