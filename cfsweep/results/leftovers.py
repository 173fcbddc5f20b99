"""What killed drivers leave that nobody needs."""

from __future__ import annotations

from pathlib import Path

from cfsweep.results.schema import TABLES

_OWN = (".study.yaml.*.tmp", ".study.copy.yaml.*.tmp", ".commits.jsonl.*.tmp")


def leftovers(root: Path, journal: Path) -> list[Path]:
    """The temporary files of the writers that hold the folder `root`, and the locks of its `journal`: remains, if
    nobody holds it now. Those of who writes a report or a choice are not among them, as these hold nothing."""
    own = (*_OWN, f"{journal.name}.lock*", f".{journal.name}.*.tmp")
    found = [path for pattern in own for path in root.glob(pattern)]
    inside = [path for place in (*TABLES, "checkpoints", "models") for path in (root / place).glob(".*.tmp")]
    return sorted([*found, *inside])


def remove_leftovers(root: Path, journal: Path) -> int:
    """Removes them; returns how many there were."""
    found = leftovers(root, journal)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
