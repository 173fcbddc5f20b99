"""How often, and after which pauses, a sweep begins again whose scheduler has died."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from cfsweep.errors import InputError
from cfsweep.visible import tell

MOST_RESTARTS = 6  # in a row without progress: a minute in all
FIRST_PAUSE_S = 1.0
# In the environment of a process that took the place of one whose scheduler had died.
BEFORE, PAUSE = "CFSWEEP_RESTARTS", "CFSWEEP_PAUSE_S"


class NotThereError(InputError):
    """No scheduler can be had, as where a cluster does not answer: `what` is told, and a remedy."""

    progressed = False

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}. {remedy}")
        self.what, self.remedy = what, remedy


class SchedulerDiedError(NotThereError):
    """The scheduler has failed, not the code of a pack; `progressed`: a task was trained since it was up."""

    def __init__(self, what: str, remedy: str, progressed: bool = False) -> None:
        super().__init__(what, remedy)
        self.progressed = progressed


@dataclass
class Restarts:
    """Those of one sweep: `n` in a row so far without progress."""

    n: int = 0

    @staticmethod
    def so_far() -> Restarts:
        """Those of the processes whose place this one took, after the pause that the last of them has told of."""
        if pause_s := os.environ.pop(PAUSE, ""):
            time.sleep(float(pause_s))
        return Restarts(int(os.environ.pop(BEFORE, "0")))

    def pause_s(self, progressed: bool) -> float | None:
        """So long to wait before the next one; None: there have been enough.

        >>> restarts = Restarts()
        >>> [restarts.pause_s(progressed) for progressed in (False, False, False, True, False)]
        [1.0, 2.0, 4.0, 1.0, 2.0]
        """
        self.n = 0 if progressed else self.n
        if self.n == MOST_RESTARTS:
            return None
        self.n += 1
        return FIRST_PAUSE_S * 2.0 ** (self.n - 1)


def told_pause_s(restarts: Restarts, error: NotThereError) -> float | None:
    """Says what has happened, and how long it is until the next time; None, without a word: there is none."""
    pause_s = restarts.pause_s(error.progressed)
    if pause_s is not None:
        again = f"goes on by itself in {pause_s:g} s ({restarts.n} of at most {MOST_RESTARTS} times without progress)"
        tell(f"{error.what}; {again}")
    return pause_s


def waits(restarts: Restarts, error: NotThereError, interrupt: threading.Event) -> bool:
    """Says what has happened and waits for the next time; False: there is none.

    Raises:
        KeyboardInterrupt: the user has set `interrupt` meanwhile.
    """
    pause_s = told_pause_s(restarts, error)
    if pause_s is None:
        return False
    if interrupt.wait(pause_s):
        raise KeyboardInterrupt
    return True


def command_again(more: Sequence[str] = ()) -> list[str] | None:
    """What this process was started with, and `more` arguments; None where that cannot be told."""
    own = sys.argv[1:]
    n_before = len(sys.orig_argv) - len(own)
    known = n_before > 1 and sys.orig_argv[n_before:] == own
    return [sys.executable, *sys.orig_argv[1:n_before], *own, *more] if known else None


def become(command: Sequence[str], restarts: Restarts, pause_s: float) -> NoReturn:
    """Has another process take the place of this one, with its id, and with none of its open files but the standard
    ones: Ray's library opens some that would stay, more with each time. It is the other one that pauses."""
    for handle in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the one of this list is closed by now
            os.set_inheritable(handle, handle <= 2)
    os.environ |= {BEFORE: str(restarts.n), PAUSE: str(pause_s)}
    os.execv(command[0], list(command))
