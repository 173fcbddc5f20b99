"""What a sweep does while a disk is full: it waits for room, and comes to an end if there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from cfsweep.errors import NoRoomError
from cfsweep.files import patient, write_atomically
from cfsweep.visible import tell

LOOK_EVERY_S = 1.0


class Waiting:
    """Is called with each write that found no room; says so once, and returns after a moment for it to be tried again.

    `ended()` says whether the user has interrupted the sweep; `gave_up` is what it has raised at last.

    Raises:
        NoRoomError: there was none for `patience_s` seconds, since the first of these writes.
        KeyboardInterrupt: the user does not wait any longer.
    """

    def __init__(self, patience_s: float, ended: Callable[[], bool], now: Callable[[], float] = time.monotonic) -> None:
        self.patience_s, self.ended, self.now = patience_s, ended, now
        self.since: float | None = None
        self.gave_up: BaseException | None = None

    def __call__(self, error: OSError, needed: int | None) -> None:
        try:
            self._wait(error, needed)
        except (NoRoomError, KeyboardInterrupt) as given_up:
            self.gave_up = given_up
            raise

    def _wait(self, error: OSError, needed: int | None) -> None:
        if self.gave_up is not None:
            raise self.gave_up
        size = "" if needed is None else f" for {max(1, round(needed / 1000)):,} kB"
        where = f"{error.filename or 'the results folder'}: {str(error.strerror).lower()}{size}"
        if self.since is None and self.patience_s:
            told = f"{where}. The sweep waits {self.patience_s:g} s for room; what was trained is not lost by that"
            tell(told)
        self.since = self.now() if self.since is None else self.since
        if self.ended():
            raise KeyboardInterrupt
        if self.now() - self.since >= self.patience_s:
            after = f", and no room within {self.patience_s:g} s" if self.patience_s else ""
            raise NoRoomError(f"{where}{after}. Make room; `cfsweep resume` goes on, as does `cfsweep confirm`.")
        time.sleep(min(LOOK_EVERY_S, self.patience_s))

    def over(self) -> None:
        """A write has found room."""
        if self.since is not None:
            tell("there is room again; the sweep goes on")
        self.since = None

    def on(self) -> AbstractContextManager[None]:
        """Within it each write of this thread is waited for."""
        return patient(self, self.over)


def room_for(folder: Path, n_bytes: int) -> None:
    """Returns once so many bytes can be written in a folder; what a kill leaves of it is a temporary file."""
    write_atomically(folder / ".room.tmp", lambda file: file.write(b"\0" * n_bytes)).unlink()
