"""The door between Ray Tune and the driver: Tune asks it for packs and tells it results; it decides nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Stopper
from ray.tune.search import Searcher

from cfsweep.results.schema import WORKER_DIED
from cfsweep.sweeping.broker import Short
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.ray_backend.trainable import from_tune


class _NotStored:
    """Tune pickles its parts to restore a run from them; a sweep is resumed from its folder instead."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StopOnInterrupt(_NotStored, Stopper):
    """Ends the Tune run once the user has interrupted the sweep.

    Tune asks it after each event, when the worker concerned is at work again: the driver's moment for all else.
    """

    def __init__(self, driver: Driver, interrupt: threading.Event) -> None:
        self.driver, self.interrupt = driver, interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.driver.interrupted |= self.interrupt.is_set()
        self.driver.tick()
        return self.driver.interrupted


class PackSearcher(_NotStored, Searcher):
    """Hands out the driver's packs as Tune trials, and passes on what they report."""

    def __init__(
        self,
        driver: Driver,
        broker: Any,
        for_workers: dict[str, Any],
        on_change: Callable[[], None],
        progressed: threading.Event,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.progressed = progressed  # is set once a task was trained
        self.driver, self.broker, self.for_workers, self.on_change = driver, broker, for_workers, on_change
        self.pack_of: dict[str, str] = {}  # by Tune's trial
        self.room: Callable[[], int] | None = None  # how many may be on their way now; None: Tune sees to that
        driver.drop = lambda pack_id, keys: ray.get(broker.drop.remote(pack_id, keys))
        driver.close = lambda pack_id: ray.get(broker.close.remote(pack_id))
        driver.end_silent = self.end_silent
        driver.short_of_room = lambda: Short(*ray.get(broker.short_of_room.remote()))
        driver.n_saved = lambda pack_id: ray.get(broker.n_saved.remote(pack_id))

    def end_silent(self, after_s: float) -> int:
        """Kills the workers of packs on their way of whom nothing was heard for so long; Tune sees that they die."""
        silent = ray.get(self.broker.take_silent.remote(after_s))
        hanging = [worker for pack_id, worker in silent.items() if pack_id in self.pack_of.values()]
        for (worker,) in hanging:
            ray.kill(worker)
        return len(hanging)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a string
        if self.driver.finished:
            finished: str = Searcher.FINISHED
            return finished
        if self.room is not None:
            self.driver.workers = max(self.driver.workers, self.room())
            if len(self.pack_of) >= self.room():
                return None
        job = self.driver.next_pack()
        if job is None:
            return None
        ray.get(self.broker.put.remote(job.pack_id, job.spec.to_dict(), self.driver.ended_runs(job)))
        self.pack_of[trial_id] = job.pack_id
        self.on_change()
        return {"pack_id": job.pack_id, **self.for_workers}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "result" in result:
            self.progressed.set()
            self.driver.take_result(from_tune(result))
            self.on_change()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        # A last result that ends a trial comes here alone, not to `on_trial_result`.
        pack_id = self.pack_of.pop(trial_id, None)
        if pack_id is None:
            return
        if error:
            self.driver.on_pack_failure(pack_id, WORKER_DIED, died=True)
        elif result is not None:
            self.on_trial_result(trial_id, result)
        self.on_change()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the folder is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the folder is the truth."""
