"""Ctrl-C, SIGTERM and SIGHUP end a sweep at a place from which it can go on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BESIDE = "cfsweep-beside"  # the name of a thread that a process which is interrupted need not wait for
SAID = b"cfsweep: it stops, and keeps what is finished; once more, and it stops at once\n"
SAID_AT_ONCE = b"cfsweep: it stops\n"


@contextmanager
def interruptible(event: threading.Event | None = None, at_once: bool = False) -> Iterator[threading.Event]:
    """An event (a new one, or `event`) that Ctrl-C, SIGTERM or SIGHUP sets, which is said; a second signal is a
    KeyboardInterrupt, and the first one where nothing has begun, and it is to end `at_once`. A signal that is ignored,
    as SIGHUP by `nohup`, stays so."""
    event = event or threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if not event.is_set():
            event.set()
            _say(SAID_AT_ONCE if at_once else SAID)
            if not at_once:
                return
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT]
    old = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _say(line: bytes) -> None:
    """At once, whatever is being printed when the signal comes."""
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.__stderr__.fileno(), line)  # type: ignore[union-attr]
