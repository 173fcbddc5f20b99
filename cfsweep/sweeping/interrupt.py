"""Ctrl-C and SIGTERM end a sweep at a place from which it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(event: threading.Event | None = None) -> Iterator[threading.Event]:
    """An event (a new one, or `event`) that Ctrl-C or SIGTERM sets; a second signal is a KeyboardInterrupt."""
    event = event or threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
