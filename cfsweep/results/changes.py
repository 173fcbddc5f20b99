"""What of a study's ground has changed while it was trained, as its `study.yaml` notes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfsweep.errors import few

CHANGES = "changes"  # the key


def said_of_changes(study: Mapping[str, Any]) -> list[str]:
    """A line for each time that the user went on with something else than the study began with.

    >>> said_of_changes({"changes": [{"at": "2026-11-27", "runs_before": 4, "changed": ["momentum 0.9 (here 0.5)"]}]})
    ['changed on 2026-11-27, when 4 runs had ended: momentum 0.9 (here 0.5)']
    """
    return [
        f"changed on {note['at']}, when {note['runs_before']} run{'s' * (note['runs_before'] != 1)} had ended: "
        f"{few(note['changed'])}"
        for note in study.get(CHANGES) or ()
    ]
