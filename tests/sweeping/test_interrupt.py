"""The first signal asks, the second insists."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cfsweep.sweeping.interrupt import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number: int) -> None:
    before = signal.getsignal(number)
    with interruptible() as event, interruptible(event) as same:
        assert same is event
        os.kill(os.getpid(), number)
        assert event.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_in_another_thread_signals_are_nobodys_business() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with interruptible() as event:
            found.extend([signal.getsignal(signal.SIGINT), event.is_set()])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before, False]
