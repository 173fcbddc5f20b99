"""The files below an address, as a place to write to: an object store, or whatever else pyarrow knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from cfsweep.files import write_atomically
from cfsweep.results.reader import filesystem

AT_ONCE = 8  # requests
FAULTS = (OSError, pa.ArrowException)  # what a store that is away, full or closed raises


@dataclass(frozen=True)
class Entry:
    """What a store knows of a file: its size in bytes, and when it was written by the store's own clock (seconds)."""

    size: int
    written_at: float


class Store:
    """Reads and writes whole files by their paths below `address`; raises one of `FAULTS` where it cannot."""

    def __init__(self, address: str, fs: pafs.FileSystem | None = None, root: str = "") -> None:
        """Another file system `fs` than the one of the address may stand for it, with its folder `root`.

        Raises:
            InputError: the address names no file system that pyarrow knows.
        """
        self.address = address
        self.fs, self.root = filesystem(address) if fs is None else (fs, root)
        self.root = self.root.rstrip("/")
        # Elsewhere a folder is but the beginning of a name, and a file is there once it is whole.
        self.has_folders = isinstance(self.fs, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.get_file_info(self.path(name)).type == pafs.FileType.File)

    def names(self) -> list[str]:
        """What lies directly in it."""
        return sorted(info.base_name for info in self.fs.get_file_info(self._below("", recursive=False)))

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """All files below it, or below a `folder` of it, by their paths; but for such as would lead out of a folder
        into which they are fetched."""
        found = self.fs.get_file_info(self._below(folder, recursive=True))
        files = {info.path[len(self.root) + 1 :]: info for info in found if info.type == pafs.FileType.File}
        return {
            name: Entry(info.size, (info.mtime_ns or 0) / 1e9)
            for name, info in files.items()
            if not {"", ".", ".."} & set(name.split("/"))
        }

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none, or no longer."""
        if not self.has(name):
            return None
        try:
            with self.fs.open_input_stream(self.path(name)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Writes a file whole, or not at all."""
        path = self.path(name)
        if self.has_folders:
            write_atomically(Path(path), lambda file: file.write(content))
            return
        if isinstance(self.fs, pafs.PyFileSystem):  # of fsspec, some kinds of which have folders
            self.fs.create_dir(path.rpartition("/")[0], recursive=True)
        with self.fs.open_output_stream(path) as file:
            file.write(content)

    def send(self, name: str, path: Path) -> None:
        """Writes what a file of this machine holds, which nobody may cut meanwhile."""
        if path.stat().st_size == 0:  # nothing to map
            self.write(name, b"")
            return
        with pa.memory_map(str(path)) as mapped:
            self.write(name, mapped.read_buffer())

    def fetch(self, name: str, path: Path) -> None:
        """Writes a file of the store to a file of this machine, whole or not at all."""

        def copy(file: object) -> None:
            with self.fs.open_input_stream(self.path(name)) as content:
                while piece := content.read(2**24):
                    file.write(piece)  # type: ignore[attr-defined]

        write_atomically(path, copy)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with suppress(FileNotFoundError):
            self.fs.delete_file(self.path(name))

    def _below(self, folder: str, recursive: bool) -> pafs.FileSelector:
        return pafs.FileSelector(self.path(folder), recursive=recursive, allow_not_found=True)


def for_each(items: Iterable[str], act: Callable[[str], object]) -> Iterator[str]:
    """Calls `act` for each item, several at a time; gives those for which it is done, and raises the first error when
    all have been tried."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        calls = [(item, pool.submit(act, item)) for item in items]
        errors = [error for _, call in calls if (error := call.exception()) is not None]
        yield from (item for item, call in calls if call.exception() is None)
    if errors:
        raise errors[0]
