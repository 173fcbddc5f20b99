"""A store for tests: a folder of this machine stands for one elsewhere; it notes what is written, and may be away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from cfsweep.results.lease import Lease
from cfsweep.results.store import Entry, Store


class Watched(Store):
    """A store in a folder: `written` are the files that were written, in order, and `removed` those removed; while it
    is `away` it answers nobody. `on_write` is called after each file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.as_uri())
        self.folder = folder
        self.written: list[str] = []
        self.removed: list[str] = []
        self.away = False
        self.on_write: Callable[[str], object] = lambda name: None

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        self._answer()
        super().write(name, content)
        self.written.append(name)
        self.on_write(name)

    def read(self, name: str) -> bytes | None:
        self._answer()
        return super().read(name)

    def has(self, name: str) -> bool:
        self._answer()
        return super().has(name)

    def entries(self, folder: str = "") -> dict[str, Entry]:
        self._answer()
        return super().entries(folder)

    def remove(self, name: str) -> None:
        self._answer()
        super().remove(name)
        self.removed.append(name)

    def study(self) -> dict[str, bytes]:
        """What it holds, but for what is the writers' own."""
        found: dict[str, bytes] = {}
        for path in filter(Path.is_file, self.folder.rglob("*")):
            with suppress(FileNotFoundError):  # as it is being written
                found[path.relative_to(self.folder).as_posix()] = path.read_bytes()
        return {name: content for name, content in found.items() if not name.startswith(".")}

    def _answer(self) -> None:
        if self.away:
            raise OSError("no answer")


def of_another_machine(store: Store, **times: float) -> Lease:
    """A lease of a process that this machine cannot look for."""
    lease = Lease(store, **times)
    lease.content = json.dumps({"machine": "another", "pid": 7, "began": "1", "host": "far"}).encode()
    return lease


def write(folder: Path, **files: str) -> None:
    """Writes files by their names, in which `__` is a slash and `_` before the suffix a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def json_lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


@contextmanager
def holding(lease: Lease) -> Iterator[None]:
    """Within it the lease is held."""
    lease.take()
    try:
        yield
    finally:
        lease.release()
