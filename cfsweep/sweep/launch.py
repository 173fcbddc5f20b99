"""Runs a study on Ray: this machine, or a cluster that is up."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.progress import Display
from cfsweep.training.streams import Stream

# Tune is a disposable scheduler here: no log files per trial, no signal handler of its own, no reports of its own.
_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# One thread per worker. MKL's matrix products are to round alike wherever their operands lie in memory: then a run in a
# pack gets the bits that it gets alone, at no cost that could be measured (docs/log.md). The allocator keeps the step's
# large buffers instead of giving them back to the kernel and faulting every page in again.
_WORKER_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MKL_CBWR": "AUTO,STRICT",
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
NAMESPACE = "cfsweep"
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Workers:
    """Where to train: `count` processes (None: one per processor, or per GPU) at `address` (None: here).

    `gpus_each` is what each of them takes of a GPU (None: a whole one if there are any).
    """

    count: int | None = None
    address: str | None = None
    gpus_each: float | None = None


@contextmanager
def connected(workers: Workers) -> Iterator[threading.Event]:
    """Ray is up within it; yields the event that Ctrl-C or SIGTERM sets.

    Raises:
        InputError: no cluster answers at the address.
    """
    os.environ.update(_TUNE_SETTINGS)
    import ray

    with interruptible() as interrupt:
        # It calls a pack that was begun again after its worker died an incomplete trial, in red, at the end.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        try:
            connect(workers.address, workers.count or os.cpu_count() or 1)
            refuse_missing_gpus(workers, ray.cluster_resources())  # type: ignore[no-untyped-call]
            # Ray has put a handler of its own in the place of ours: it prints a stack trace at SIGTERM.
            with interruptible(interrupt):
                yield interrupt
        finally:
            ray.shutdown()


def connect(address: str | None, workers: int) -> None:
    """Starts Ray here with `workers` processors, or joins the cluster at `address`.

    Raises:
        InputError: no cluster answers.
    """
    import ray

    here = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {**_WORKER_SETTINGS, "PYTHONPATH": here}},
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": "error",
    }
    if address is None:
        # A cluster named by the environment would be joined silently otherwise.
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
        return
    try:
        refuse_silence(address)
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({reason[:200]}). Start one with `ray up cluster.yaml` "
            "or `ray start --head`, or leave `--address` out to use this machine."
        ) from error


def refuse_silence(address: str) -> None:
    """Ray itself would knock for a quarter of an hour, and log each try.

    Raises:
        OSError: nothing listens at the address.
        ValueError: it is no address.
    """
    from ray._private.services import canonicalize_bootstrap_address

    place = canonicalize_bootstrap_address(address.removeprefix("ray://"))
    if place is None:
        raise ValueError("no cluster was started on this machine")
    host, _, port = place.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()


def refuse_missing_gpus(workers: Workers, available: Mapping[str, float]) -> None:
    """A cluster may still bring GPUs up; this machine will not, and Ray would wait for them.

    Raises:
        InputError: a worker is to have more GPUs than there are here.
    """
    if workers.address is None and (workers.gpus_each or 0) > available.get("GPU", 0):
        raise InputError(
            f"--gpus-per-worker {workers.gpus_each:g}: this machine has {available.get('GPU', 0):g} GPUs that Ray can "
            "see. Lower it, or leave it out."
        )


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


def worker_resources(workers: Workers, available: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """How many workers, and what each takes, given what Ray has.

    >>> worker_resources(Workers(), {"CPU": 16.0, "GPU": 2.0})
    (2, {'CPU': 1, 'GPU': 1.0})
    >>> worker_resources(Workers(gpus_each=0.0), {"CPU": 16.0, "GPU": 2.0})
    (16, {'CPU': 1})
    """
    gpus = workers.gpus_each if workers.gpus_each is not None else float(available.get("GPU", 0) >= 1)
    each: dict[str, float] = {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}
    fits = min(int(available.get(name, 0) / amount) for name, amount in each.items())
    return workers.count or max(1, fits), each


def sweep(
    folder: Folder,
    config: StudyConfig,
    hypers: dict[str, Hyper],
    stream: Stream,
    workers: Workers,
    display: Display,
    interrupt: threading.Event,
) -> bool:
    """Sweeps until the budget is spent or `interrupt` is set; returns whether it was interrupted.

    Ray is up, and the caller holds the folder's lock.
    """
    import ray
    from ray import tune
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from cfsweep.sweep.desk import Desk
    from cfsweep.sweep.driver import Driver
    from cfsweep.sweep.journal import open_study
    from cfsweep.sweep.pack_size import chosen
    from cfsweep.sweep.prefixes import recur
    from cfsweep.sweep.searcher import PackSearcher, StopOnInterrupt
    from cfsweep.sweep.trainable import PackTrainable, pack_stream
    from cfsweep.training.pack import example_counts

    available = ray.cluster_resources()  # type: ignore[no-untyped-call]
    count, resources = worker_resources(workers, available)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    name = f"desk-{config.study_id}-{os.getpid()}"
    stream_ref = ray.put(pack_stream(stream))
    desk: Any = Desk.options(name=name, scheduling_strategy=here).remote(
        str(folder.checkpoints.absolute()), [stream_ref]
    )
    driver = Driver(
        folder,
        config,
        hypers,
        open_study(folder.journal, config),
        example_counts(stream),
        count,
        chosen(config, hypers, stream, stream_ref, count, resources, interrupt),
    )
    searcher = PackSearcher(
        driver,
        desk,
        {
            "desk": name,
            "namespace": NAMESPACE,
            "share_prefix": config.share_prefix,
            "prefixes_recur": recur(config.space, hypers, config.trials),
        },
        lambda: display.show(driver.book.summary()),
    )

    with tempfile.TemporaryDirectory(prefix="cfsweep-tune-") as scratch, display:
        display.show(driver.book.summary())
        if driver.finished:
            return False
        tuner = tune.Tuner(
            tune.with_resources(PackTrainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher, num_samples=-1, max_concurrent_trials=count, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name=config.study_id,
                storage_path=scratch,
                verbose=0,
                stop=StopOnInterrupt(driver, interrupt),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        finally:
            driver.commit()
        if driver.complete:
            ray.get(desk.clear_prefixes.remote())
        display.show(driver.book.summary())
    return interrupt.is_set()
