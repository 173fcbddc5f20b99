"""Which scheduler serves these workers; and another one, where it dies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from cfsweep.sweeping.interrupt import interruptible
from cfsweep.sweeping.restarts import NotThereError, Restarts, SchedulerDiedError, waits
from cfsweep.sweeping.scheduler import Scheduler, Workers

T = TypeVar("T")
U = TypeVar("U")


def open_scheduler(
    workers: Workers, work: Callable[[], T], restarts: Restarts | None = None
) -> AbstractContextManager[tuple[Scheduler, T]]:
    """The scheduler, and what `work()` gives, which may be done while it starts.

    Raises:
        InputError: no cluster answers at the address, or a GPU is asked for that is not there.
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all this was there.
    """
    if workers.count == 0:
        from cfsweep.sweeping.local import local_scheduler

        return local_scheduler(workers, work)
    from cfsweep.sweeping.ray_backend.scheduler import ray_scheduler  # loads Ray

    return ray_scheduler(workers, work, restarts or Restarts())


def on_schedulers(workers: Workers, work: Callable[[], T], sweep: Callable[[Scheduler, T], U]) -> U:
    """What `sweep` gives, which goes on by itself from what is written: on a scheduler, on another one where that has
    died, and so on. `work()` is done once, while the first of them starts.

    Raises:
        InputError: as of `open_scheduler`; or no scheduler came far, however often it was tried.
    """
    restarts, done = Restarts.so_far(), list[T]()

    def work_once() -> T:
        if not done:
            done.append(work())
        return done[0]

    while True:
        try:
            with open_scheduler(workers, work_once, restarts) as (scheduler, worked):
                return sweep(scheduler, worked)
        except NotThereError as error:
            if not isinstance(error, SchedulerDiedError) and not restarts.n:
                raise  # it was never there
            with interruptible() as interrupt:
                if not waits(restarts, error, interrupt):
                    raise
