"""Where workers fetch packs, and leave checkpoints and first tasks: beside the driver, so that none of these needs a
file system that machines share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from cfsweep.errors import FULL
from cfsweep.files import impatient, read_sealed, write_atomically, write_sealed
from cfsweep.results.schema import model_path
from cfsweep.sweeping.first_task_store import FirstTaskFolder

Key = tuple[int, int]
DAMAGED = ".damaged"  # behind the name of a checkpoint that cannot be read


class BrokerError(Exception):
    """What the broker, or the way to it, has raised: no fault of the pack, whose worker has come to grief."""


@contextmanager
def no_fault_of_the_pack() -> Iterator[None]:
    """Within it the broker is asked: whatever that raises is raised as a `BrokerError`."""
    try:
        yield
    except Exception as error:  # of the operating system's, or of Ray's
        raise BrokerError(f"{type(error).__name__}: {error}") from error


class Fetched(NamedTuple):
    """A pack to train: its specification, and its last checkpoint, if it has one; `damaged`: it had one that is not as
    it was written, and was set aside."""

    spec: dict[str, Any]
    checkpoint: bytes | None
    damaged: bool = False


class Short(NamedTuple):
    """What the disk has had no room for: how many checkpoints were not taken, and how many bytes of models wait for
    it."""

    n_checkpoints: int = 0
    bytes_waiting: int = 0


class BrokerClient(Protocol):
    """The broker as a worker sees it."""

    def fetch(self, pack_id: str) -> Fetched:
        """A pack, whole or from its checkpoint."""

    def dropped_from(self, pack_id: str) -> set[Key] | None:
        """The runs of a pack that are not to be trained on; None: the pack is closed, none of them is."""

    def set_aside(self, pack_id: str) -> None:
        """The pack's checkpoint cannot be read: it is not to be fetched again."""

    def save(self, pack_id: str, checkpoint: bytes) -> object:
        """Leaves a checkpoint."""

    def keep(self, pack_id: str, models: Mapping[Key, bytes]) -> bool:
        """Leaves what runs of a pack have come to, by (trial, seed); it is there when this returns, unless (False)
        there is no room for it, or the pack is closed."""


class Broker:
    """Holds the packs on their way; in a cluster an actor carries it."""

    checkpoints: Path
    first_tasks: FirstTaskFolder

    def __init__(self) -> None:
        self.specs: dict[str, dict[str, Any]] = {}
        self.dropped: dict[str, set[Key]] = {}
        self.saved, self.short = Counter[str](), Short()
        self.heard: dict[str, float] = {}  # when a worker last asked for or left anything, by pack

    def open(self, checkpoints: str) -> None:
        """Clears it for a sweep that keeps its `checkpoints` in that folder."""
        self.checkpoints = Path(checkpoints)
        self.first_tasks = FirstTaskFolder(self.checkpoints)
        self.specs.clear()
        self.dropped.clear()
        self.saved.clear()
        self.heard.clear()
        self.short = Short()

    def put(self, pack_id: str, spec: dict[str, Any], dropped: set[Key]) -> None:
        """Takes a pack in for a worker to fetch; its `dropped` runs are not to be trained on."""
        self.specs[pack_id] = spec
        self.heard.pop(pack_id, None)  # of the worker that had it before
        self.dropped.setdefault(pack_id, set()).update(dropped)

    def fetch(self, pack_id: str) -> Fetched:
        self.heard[pack_id] = time.monotonic()
        path = checkpoint_path(self.checkpoints, pack_id)
        if not path.exists():
            return Fetched(self.specs[pack_id], None)
        checkpoint = read_sealed(path)  # torch would not notice all damage
        if checkpoint is None:
            self.set_aside(pack_id)
        return Fetched(self.specs[pack_id], checkpoint, damaged=checkpoint is None)

    def set_aside(self, pack_id: str) -> None:
        """Its file stays, for whoever wants to know, under another name."""
        path = checkpoint_path(self.checkpoints, pack_id)
        if path.exists():
            path.replace(path.with_name(path.name + DAMAGED))

    def drop(self, pack_id: str, keys: set[Key]) -> None:
        """These runs of a pack are not to be trained on."""
        self.dropped.setdefault(pack_id, set()).update(keys)

    def dropped_from(self, pack_id: str) -> set[Key] | None:
        if pack_id in self.heard:
            self.heard[pack_id] = time.monotonic()
        return self.dropped.get(pack_id)

    def save(self, pack_id: str, checkpoint: bytes) -> None:
        """Replaces the pack's checkpoint, unless the pack is closed, or the disk is full: then the last one stays."""
        if pack_id not in self.specs:
            return
        self.heard[pack_id] = time.monotonic()
        try:
            with impatient():
                write_sealed(checkpoint_path(self.checkpoints, pack_id), checkpoint)
            self.saved[pack_id] += 1
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.short = self.short._replace(n_checkpoints=self.short.n_checkpoints + 1)

    def silent(self, after_s: float) -> set[str]:
        """The packs of whose workers nothing was heard for so long since they fetched them."""
        now = time.monotonic()
        return {pack_id for pack_id, heard in self.heard.items() if now - heard >= after_s}

    def short_of_room(self) -> Short:
        """What there was no room for."""
        return self.short

    def n_saved(self, pack_id: str) -> int:
        """How many checkpoints of the pack have come."""
        return self.saved[pack_id]

    def keep(self, pack_id: str, models: Mapping[Key, bytes]) -> bool:
        """What was left of a run before is replaced; unless the pack is closed, as then it is a result."""
        if pack_id not in self.specs:
            return True
        waiting = 0
        try:
            for key, model in models.items():
                write_atomically(model_path(self.checkpoints.parent, key), partial(_write, model))
        except OSError as error:
            if error.errno not in FULL:
                raise
            waiting = sum(map(len, models.values()))
        self.short = self.short._replace(bytes_waiting=waiting)
        return not waiting

    def close(self, pack_id: str) -> None:
        """The pack is done: its checkpoint goes."""
        self.specs.pop(pack_id, None)
        self.dropped.pop(pack_id, None)
        self.saved.pop(pack_id, None)
        self.heard.pop(pack_id, None)
        checkpoint_path(self.checkpoints, pack_id).unlink(missing_ok=True)

    def get_first_tasks(self, keys: list[str]) -> dict[str, bytes]:
        return self.first_tasks.get(keys)

    def put_first_tasks(self, contents: Mapping[str, bytes]) -> None:
        self.first_tasks.put(contents)

    def clear_first_tasks(self) -> None:
        """The sweep is complete."""
        self.first_tasks.clear()


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def checkpoint_path(folder: Path, pack_id: str) -> Path:
    return folder / f"{pack_id}.pt"
