"""What killed drivers leave that nobody needs."""

from __future__ import annotations

import re
from pathlib import Path

from cfsweep.results.schema import TABLES

PLACES = (*TABLES, "checkpoints", "models")  # the folders in which whoever holds the results folder writes
_TEMPORARY = re.compile(r"\..*\.tmp")
_OWN = re.compile(r"\.(study|study\.copy|commits|journal)\.(yaml|jsonl|log)\..*\.tmp|journal\.(jsonl|log)\.lock.*")


def is_leftover(place: str, name: str) -> bool:
    """Whether the file `name` in a folder of `PLACES`, or in the results folder itself (""), is a temporary file of who
    holds the folder, or a lock of its journal. What writes a report or a choice holds nothing, and may be at it.

    >>> is_leftover("runs", ".pack000000.parquet.x1.tmp"), is_leftover("", "journal.jsonl.lock0a.rename")
    (True, True)
    >>> is_leftover("", ".report.html.x1.tmp"), is_leftover("", "journal.jsonl")
    (False, False)
    """
    return bool((_TEMPORARY if place else _OWN).fullmatch(name))


def leftovers(root: Path) -> list[Path]:
    """Those in the folder `root`: remains, if nobody holds it now."""
    places = [(place, root / place) for place in ("", *PLACES) if (root / place).is_dir()]
    return [path for place, folder in places for path in sorted(folder.iterdir()) if is_leftover(place, path.name)]


def remove_leftovers(root: Path) -> int:
    """Removes them; returns how many there were. The caller holds the folder."""
    found = leftovers(root)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
