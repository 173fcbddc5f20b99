"""A script as a trainer from outside, whatever it is written in: `cfsweep run examples/avalanche.yaml`, from the folder
that holds `examples`, has one train Avalanche's strategies, in an environment of its own (`make avalanche` makes it).

The script is a command that trains one task: it finds its state in a folder, leaves the new one there, and writes the
scores as JSON. For another one, change `COMMAND`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PYTHON = os.environ.get("AVALANCHE_PYTHON", f"{sys.prefix}-avalanche/bin/python")
COMMAND = [PYTHON, "-W", "ignore", str(Path(__file__).parent / "avalanche_script.py")]


def train(settings: dict[str, Any], seed: int, task: int, state: Path | bytes | None) -> tuple[dict[str, Any], Path]:
    """What the script comes to on this task."""
    folder = state if isinstance(state, Path) else Path(tempfile.mkdtemp())
    scores = folder / "scores.json"
    given = {"settings": json.dumps(settings), "seed": seed, "task": task, "state": folder, "scores": scores}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    # In a session of its own, so that Ctrl-C, which ends the sweep after this task, does not end the script before.
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"the script ended with {done.returncode}: {(done.stderr.splitlines() or ['(no word)'])[-1]}"
        )
    return json.loads(scores.read_text()), folder
