"""Where the first tasks that packs have trained are kept for packs to come: at the broker, and in each worker's memory.

A key tells all that a first task depends on (see `training.first_task_cache`), so a copy can never be out of date.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cfsweep.config import Space
from cfsweep.errors import FULL
from cfsweep.files import SEAL_BYTES, impatient, read_sealed, write_sealed
from cfsweep.hypers import Hyper

MOST_BYTES_AT_BROKER = 2**30
MOST_BYTES_IN_WORKER = 2**28


def first_tasks_recur(space: Space, hypers: Mapping[str, Hyper], trials: int) -> bool:
    """Whether trials will have their first task in common: there are fewer of them that differ in it than trials.

    >>> from cfsweep.config import Choices, Range
    >>> from cfsweep.hypers import BASE_HYPERS
    >>> hypers = {hyper.name: hyper for hyper in BASE_HYPERS}
    >>> first_tasks_recur(Space(search={"lr": Choices(choices=(0.1, 0.01))}), hypers, trials=48)
    True
    >>> first_tasks_recur(Space(search={"lr": Range(low=0.01, high=0.1)}), hypers, trials=48)
    False
    """
    early = [name for name in space.search if hypers[name].static or hypers[name].takes_effect != "later"]
    return math.prod(space.search[name].n_values(hypers[name].kind == "int") for name in early) < trials


class Recent:
    """Which keys were asked for last, and which must go so that their sizes stay within `most_bytes`.

    >>> recent = Recent(10)
    >>> recent.add("a", 4), recent.add("b", 5), recent.touch("a"), recent.add("c", 3)
    ([], [], True, ['b'])
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.sizes = most_bytes, OrderedDict[str, int]()

    def touch(self, key: str) -> bool:
        """Notes that `key` was asked for; returns whether it is there."""
        if key in self.sizes:
            self.sizes.move_to_end(key)
        return key in self.sizes

    def forget(self, key: str) -> None:
        """It is not there any more."""
        del self.sizes[key]

    def add(self, key: str, n_bytes: int) -> list[str]:
        """Takes `key` in; returns those that must go for it, which may be `key` itself."""
        self.sizes[key] = n_bytes
        gone = []
        while sum(self.sizes.values()) > self.most_bytes:
            gone.append(self.sizes.popitem(last=False)[0])
        return gone


class FirstTaskFolder:
    """First tasks as files; those that nobody has asked for the longest make room for new ones."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES_AT_BROKER) -> None:
        self.folder, self.recent, self.closed = folder, Recent(most_bytes), False
        for path in sorted(folder.glob("prefix-*.pt"), key=lambda path: path.stat().st_mtime):
            self._take_in(path.stem.removeprefix("prefix-"), path.stat().st_size - SEAL_BYTES)

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The contents of those `keys` that are there; one that is not as it was written is gone."""
        found = {key: read_sealed(self._path(key)) for key in keys if self.recent.touch(key)}
        for key in [key for key, content in found.items() if content is None]:
            self.recent.forget(key)
            self._path(key).unlink()
        return {key: content for key, content in found.items() if content is not None}

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Writes each content that is not there yet: whole, or not at all, as where the disk is full."""
        for key, content in contents.items():
            if not self.closed and not self.recent.touch(key):
                try:
                    with impatient():
                        write_sealed(self._path(key), content)
                except OSError as error:
                    if error.errno not in FULL:
                        raise
                    return
                self._take_in(key, len(content))

    def clear(self) -> None:
        """The sweep is over: everything goes, and nothing is taken any more."""
        self.closed, self.recent = True, Recent(0)
        for path in self.folder.glob("prefix-*.pt"):
            path.unlink()

    def _take_in(self, key: str, n_bytes: int) -> None:
        for gone in self.recent.add(key, n_bytes):
            self._path(gone).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"prefix-{key}.pt"


class WorkerFirstTasks:
    """First tasks as a worker sees them: those it has met lately are in its memory, all others at the broker."""

    def __init__(
        self,
        get_from_broker: Callable[[list[str]], Mapping[str, bytes]],
        put_at_broker: Callable[[Mapping[str, bytes]], object],
        most_bytes: int = MOST_BYTES_IN_WORKER,
    ) -> None:
        self.get_from_broker, self.put_at_broker = get_from_broker, put_at_broker
        self.recent = Recent(most_bytes)
        self.contents: dict[str, bytes] = {}

    def get(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The contents of those `keys` that are known."""
        wanted = list(keys)
        found = {key: self.contents[key] for key in wanted if self.recent.touch(key)}
        missing = [key for key in wanted if key not in found]
        asked = self.get_from_broker(missing) if missing else {}
        self._take_in(asked)
        return {**found, **asked}

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Keeps the contents, here and at the broker."""
        self._take_in(contents)
        self.put_at_broker(contents)

    def _take_in(self, contents: Mapping[str, bytes]) -> None:
        for key, content in contents.items():
            self.contents[key] = content
            for gone in self.recent.add(key, len(content)):
                del self.contents[gone]
