"""A sweep in this process: no Ray, one pack at a time, and a debugger works. `--workers 0` asks for it."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from cfsweep.errors import InputError
from cfsweep.sweeping.broker import Broker, BrokerError
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.first_task_store import first_tasks_recur
from cfsweep.sweeping.interrupt import interruptible
from cfsweep.sweeping.pack_queue import PackJob
from cfsweep.sweeping.pack_size import most_runs, pack_size_beside_memory, runs_that_fit
from cfsweep.sweeping.scheduler import Capacity, Scheduler, SweepPlan, Workers
from cfsweep.sweeping.worker import PackWorker, TaskResult
from cfsweep.visible import visible

T = TypeVar("T")


@contextmanager
def local_scheduler(workers: Workers, work: Callable[[], T]) -> Iterator[tuple[Scheduler, T]]:
    """The scheduler of this process, and what `work()` gives.

    Raises:
        InputError: an address is given, or a GPU is asked for that is not there.
        KeyboardInterrupt: Ctrl-C came before all this was there.
    """
    if workers.address is not None:
        raise InputError(f"--workers 0 trains in this process, but got --address {workers.address}. Leave one out.")
    if workers.gpus_each and not torch.cuda.is_available():
        raise InputError(
            f"--gpus-per-worker {workers.gpus_each:g}: this process has no GPU that torch can see. Leave it out."
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker's: two teams of threads are slower, and round in another order
    try:
        done = work()
        with interruptible() as interrupt:
            yield LocalScheduler(interrupt, workers.gpus_each), done
    finally:
        torch.set_num_threads(threads)


class LocalScheduler:
    """Trains `at_once` packs in turns, a task each, in this process: one, but where a test plays several workers."""

    def __init__(self, interrupt: threading.Event, gpus: float | None = None, at_once: int = 1) -> None:
        """`gpus` is what it takes of a GPU; None: a whole one if there is any."""
        self.interrupt, self.at_once = interrupt, at_once
        self.gpu_share = 1.0 if gpus is None else gpus
        self.device = torch.device("cuda" if self.gpu_share and torch.cuda.is_available() else "cpu")
        self.broker = Broker()

    @property
    def interrupted(self) -> bool:
        return self.interrupt.is_set()

    def capacity(self, plan: SweepPlan) -> Capacity:
        size = pack_size_beside_memory(plan.config, plan.stream, on_gpu=self.device.type == "cuda")
        if size is None:
            most = most_runs(plan.config, self.at_once)
            size = runs_that_fit(plan.config, plan.hypers, plan.stream, self.gpu_share, most)
        return Capacity(self.at_once, size)

    def run(self, plan: SweepPlan, driver: Driver, on_change: Callable[[], None]) -> None:
        self.broker.open(str(plan.checkpoints))
        driver.drop, driver.close, driver.n_saved = self.broker.drop, self.broker.close, self.broker.n_saved
        driver.short_of_room = self.broker.short_of_room
        with driver.kept_at_the_end():
            self._train(plan, driver, on_change)
        on_change()
        driver.interrupted = self.interrupted
        driver.commit()
        if driver.complete:
            self.broker.clear_first_tasks()

    def _train(self, plan: SweepPlan, driver: Driver, on_change: Callable[[], None]) -> None:
        active: deque[PackWorker] = deque()
        shown: set[str] = set()  # errors
        while not (self.interrupted or driver.finished):
            while len(active) < self.at_once and (job := driver.next_pack()):
                active.append(self.worker_for(plan, driver, job))
            on_change()
            if not active:  # all that was asked for has been trained before, or the time ran out in between
                continue
            worker = active.popleft()
            result = self.advance(worker, driver)
            if result is not None:
                driver.take_result(result)
                if result.error not in shown:  # a pack that fails is tried again, run by run
                    print(
                        visible(result.trace, keep="\n\t"), file=sys.stderr, end=""
                    )  # the whole of what the driver keeps in one line
                shown.add(result.error)
                if not result.done:
                    active.append(worker)
            driver.tick()

    def worker_for(self, plan: SweepPlan, driver: Driver, job: PackJob) -> PackWorker:
        """What is to train a pack."""
        self.broker.put(job.pack_id, job.spec.to_dict(), driver.ended_runs(job))
        shared = first_tasks_recur(plan.config.space, plan.hypers, plan.config.trials)
        first_tasks = self.broker.first_tasks if shared else None
        return PackWorker(job.pack_id, self.broker, plan.stream, self.device, plan.config.share_prefix, first_tasks)

    def advance(self, worker: PackWorker, driver: Driver) -> TaskResult | None:
        """Trains the next task of a pack; None if the driver has been told already how that ended (as where a test has
        a worker die).

        Raises:
            Exception: the broker has raised it, which is in this process, too.
        """
        try:
            return worker.advance()
        except BrokerError as error:
            raise error.__cause__ or error from None
