"""Which scheduler serves these workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from cfsweep.sweeping.scheduler import Scheduler, Workers

T = TypeVar("T")


def open_scheduler(workers: Workers, work: Callable[[], T]) -> AbstractContextManager[tuple[Scheduler, T]]:
    """The scheduler, and what `work()` gives, which may be done while it starts.

    Raises:
        InputError: no cluster answers at the address, or a GPU is asked for that is not there.
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all this was there.
    """
    if workers.count == 0:
        from cfsweep.sweeping.local import local_scheduler

        return local_scheduler(workers, work)
    from cfsweep.sweeping.ray_backend.scheduler import ray_scheduler  # loads Ray

    return ray_scheduler(workers, work)
