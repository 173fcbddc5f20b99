"""The driver's desk: an actor on the driver's machine where workers fetch packs, and leave checkpoints and first tasks.

So none of these needs a file system that the machines share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from cfsweep.files import write_atomically
from cfsweep.sweep.prefixes import PrefixFolder

Key = tuple[int, int]


class DeskState:
    """What lies on the desk; plain Python, the actor only carries it."""

    checkpoints: Path
    prefixes: PrefixFolder

    def __init__(self) -> None:
        self.stream: Any = None
        self.specs: dict[str, dict[str, Any]] = {}
        self.dropped: dict[str, set[Key]] = {}

    def open(self, checkpoints: str, stream: Any) -> None:
        """Clears the desk for a sweep over `stream` (a reference to it) that keeps its `checkpoints` in that folder."""
        self.checkpoints, self.stream = Path(checkpoints), stream
        self.prefixes = PrefixFolder(self.checkpoints)
        self.specs.clear()
        self.dropped.clear()

    def put(self, pack_id: str, spec: dict[str, Any]) -> None:
        """A pack that a worker may fetch, whole or from its checkpoint."""
        self.specs[pack_id] = spec
        self.dropped.setdefault(pack_id, set())

    def fetch(self, pack_id: str) -> tuple[dict[str, Any], bytes | None, Any]:
        """(specification, last checkpoint or None, reference to the stream)."""
        path = checkpoint_path(self.checkpoints, pack_id)
        return self.specs[pack_id], path.read_bytes() if path.exists() else None, self.stream

    def drop(self, pack_id: str, keys: set[Key]) -> None:
        self.dropped.setdefault(pack_id, set()).update(keys)

    def dropped_from(self, pack_id: str) -> set[Key]:
        return self.dropped.get(pack_id, set())

    def save(self, pack_id: str, checkpoint: bytes) -> None:
        """Replaces the pack's checkpoint, unless the pack is closed."""
        if pack_id in self.specs:
            write_atomically(checkpoint_path(self.checkpoints, pack_id), lambda file: file.write(checkpoint))

    def close(self, pack_id: str) -> None:
        """The pack is done: its checkpoint goes."""
        self.specs.pop(pack_id, None)
        self.dropped.pop(pack_id, None)
        checkpoint_path(self.checkpoints, pack_id).unlink(missing_ok=True)

    def get_prefixes(self, keys: list[str]) -> dict[str, bytes]:
        return self.prefixes.get(keys)

    def put_prefixes(self, contents: Mapping[str, bytes]) -> None:
        self.prefixes.put(contents)

    def clear_prefixes(self) -> None:
        """The sweep is complete."""
        self.prefixes.clear()


def checkpoint_path(folder: Path, pack_id: str) -> Path:
    return folder / f"{pack_id}.pt"


Desk = ray.remote(num_cpus=0)(DeskState)
