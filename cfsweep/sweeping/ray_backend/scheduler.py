"""Ray as the sweep sees it: a `Scheduler`. Ray Tune hands packs to workers and starts them again when they die."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import ray
from ray.exceptions import RayError

from cfsweep.sweeping.first_task_store import first_tasks_recur
from cfsweep.sweeping.ray_backend.cluster import NAMESPACE, RunningRay, connected_beside, fitting, worker_resources
from cfsweep.sweeping.ray_backend.deaths import died, full_disk_named, met_by_the_broker
from cfsweep.sweeping.ray_backend.ray_internals import new_workers_kept
from cfsweep.sweeping.restarts import Restarts
from cfsweep.sweeping.scheduler import Capacity, Scheduler, SweepPlan, Workers
from cfsweep.training.plugins import import_paths

if TYPE_CHECKING:  # loaded beside the start of Ray, and torch with it
    from cfsweep.sweeping.driver import Driver

KILLED = "worker(s) were killed"
LOOK_EVERY_S = 2.0  # at how large a cluster is
NEW_WORKER_S = 120.0  # that one on another machine may take to start

T = TypeVar("T")


@contextmanager
def ray_scheduler(workers: Workers, work: Callable[[], T], restarts: Restarts) -> Iterator[tuple[Scheduler, T]]:
    """The scheduler on Ray, which is up within it, and what `work()` gives, which is done while Ray starts. `restarts`
    have gone before.

    Raises:
        InputError: no cluster answers at the address, or Ray has died.
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all this was there.
    """
    with connected_beside(workers, work, restarts) as (up, done):
        yield RayScheduler(workers, up), done


class RayScheduler:
    """Trains each pack on a worker of Ray's."""

    def __init__(self, workers: Workers, up: RunningRay) -> None:
        self.up, self.one_machine = up, workers.address is None
        available = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.count, self.resources = worker_resources(workers, available)
        self.workers, self.looked_at, self.fitting = workers, float("-inf"), 1

    @property
    def interrupted(self) -> bool:
        return self.up.interrupt.is_set()

    @property
    def follows(self) -> bool:
        """Whether there are as many workers as the cluster has room for, at any time."""
        return not self.one_machine and self.workers.count is None

    def room(self) -> int:
        """How many workers the cluster has room for now."""
        if time.monotonic() - self.looked_at >= LOOK_EVERY_S:
            self.looked_at = time.monotonic()
            self.fitting = fitting(self.resources, ray.cluster_resources())  # type: ignore[no-untyped-call]
        return self.fitting

    def capacity(self, plan: SweepPlan) -> Capacity:
        from cfsweep.sweeping.ray_backend.pack_size import pack_size_on_ray
        from cfsweep.sweeping.ray_backend.trainable import pack_stream

        packed = pack_stream(plan.stream, plan.config.space.network, self.one_machine)
        self.stream_ref = ray.put(packed)  # which lives as long as this reference
        self.up.broker.open_with_stream.remote(str(plan.checkpoints.absolute()), [self.stream_ref])
        size = pack_size_on_ray(plan, self.stream_ref, self.count, self.resources, self.up.interrupt)
        return Capacity(self.count, size)

    def run(self, plan: SweepPlan, driver: Driver, on_change: Callable[[], None]) -> None:
        from ray import tune  # slow to load, and not needed for a study that turns out to be complete
        from ray.tune.error import TuneError

        from cfsweep.sweeping.ray_backend.searcher import PackSearcher, StopOnInterrupt
        from cfsweep.sweeping.ray_backend.trainable import PackTrainable

        if driver.finished:
            return
        for_workers = {
            "broker": self.up.broker_name,
            "namespace": NAMESPACE,
            "code": import_paths(plan.config.model_dump()),
            "code_sha256": driver.folder.read()[1].get("code_sha256", {}),
            "share_first_task": plan.config.share_prefix,
            "first_tasks_recur": first_tasks_recur(plan.config.space, plan.hypers, plan.config.trials),
        }
        searcher = PackSearcher(driver, self.up.broker, for_workers, on_change, self.up.progressed)
        if self.follows:
            searcher.room = self.room
        new_ones = nullcontext() if self.one_machine else new_workers_kept(NEW_WORKER_S, self.room)
        with new_ones, tempfile.TemporaryDirectory(prefix="cfsweep-tune-", dir=self.up.folder) as scratch:
            tuner = tune.Tuner(
                tune.with_resources(PackTrainable, self.resources),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    num_samples=-1,
                    max_concurrent_trials=None if self.follows else self.count,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=plan.config.study_id,
                    storage_path=scratch,
                    verbose=0,
                    stop=StopOnInterrupt(driver, self.up.interrupt),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            try:
                with driver.kept_at_the_end(), full_disk_named(scratch):
                    tuner.fit()
            except (RayError, TuneError) as error:
                if (on_disk := met_by_the_broker(error)) is not None:
                    raise on_disk from error
                raise died(error, self.up.progressed.is_set()) from error
            except RuntimeError as error:
                if KILLED not in str(error):  # Ray's own way to say it
                    raise
                raise died(error, self.up.progressed.is_set()) from error
            driver.commit()
        if driver.complete:
            ray.get(self.up.broker.clear_first_tasks.remote())
