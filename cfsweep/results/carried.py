"""What a store holds of a folder of this machine, as it is noted beside the folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from cfsweep.files import write_atomically


class Seen(NamedTuple):
    """What a file of this machine was like: its size in bytes, and when it was changed (ns)."""

    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Seen:
        about = path.stat()
        return cls(about.st_size, about.st_mtime_ns)


class Carried:
    """By name, what each file was like when it was carried: a line for each in a file at `path`, the last one counts.

    A line that was lost with a killed process has its file carried once more, and costs nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, Seen] = {}
        self._file: IO[str] | None = None
        with suppress(FileNotFoundError):
            for line in path.read_text(errors="replace").splitlines():
                with suppress(ValueError, TypeError):
                    name, *seen = json.loads(line)
                    self.files.pop(name, None)
                    if seen:
                        self.files[name] = Seen(*seen)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.files))

    def open(self) -> None:
        """Writes what is known, and takes notes from now on."""
        lines = "".join(json.dumps([name, *seen]) + "\n" for name, seen in self.files.items())
        write_atomically(self.path, lambda file: file.write(lines.encode()))
        self._file = self.path.open("a")

    def note(self, name: str, seen: Seen | None) -> None:
        """A file was carried, or removed there (None); a no-op once it is closed."""
        if self._file is None:
            return
        self._file.write(json.dumps([name, *(seen or ())]) + "\n")
        self._file.flush()
        if seen is None:
            self.files.pop(name, None)
        else:
            self.files[name] = seen

    def close(self) -> None:
        """No more notes are taken."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
