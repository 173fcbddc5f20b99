"""Ray, on this machine or on a cluster that is up, with workers that are warm when the first pack comes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from cfsweep.errors import InputError

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
SHOWS_AT_ONCE_S = 0.1
NOT_FOR_PACKS = "CFSWEEP_NOT_FOR_PACKS"  # in the environment of a process that trains nothing

_T = TypeVar("_T")


@dataclass(frozen=True)
class Workers:
    """Where to train: `count` processes (None: one per processor, or per GPU) at `address` (None: here).

    `gpus_each` is what each of them takes of a GPU (None: a whole one if there are any).
    """

    count: int | None = None
    address: str | None = None
    gpus_each: float | None = None


@dataclass(frozen=True)
class Up:
    """Ray that is up: the event that Ctrl-C or SIGTERM sets, and the desk's actor with its name."""

    interrupt: threading.Event
    desk: Any
    desk_name: str


@contextmanager
def connected(workers: Workers) -> Iterator[Up]:
    """Ray is up within it, with an empty desk; on this machine the workers are loading what a pack needs.

    Raises:
        InputError: no cluster answers at the address.
    """
    with connected_beside(workers, lambda: None) as (up, _):
        yield up


@contextmanager
def connected_beside(workers: Workers, work: Callable[[], _T]) -> Iterator[tuple[Up, _T]]:
    """`connected`, and what `work()` gives, which is done in a thread while Ray starts.

    Raises:
        InputError: no cluster answers at the address.
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all this was there.
    """
    os.environ.update(_TUNE_SETTINGS)
    import ray  # not in both threads at once

    with interruptible() as interrupt, ThreadPoolExecutor(1) as beside:
        # It calls a pack that was begun again after its worker died an incomplete trial, in red, at the end.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        doing = beside.submit(work)
        if wait([doing], SHOWS_AT_ONCE_S).done:
            doing.result()  # what is wrong shows before Ray has started, where torch was loaded before
        try:
            # In this thread: what Ray starts ends with the thread that started it.
            connect(workers)
            available = ray.cluster_resources()  # type: ignore[no-untyped-call]
            refuse_missing_gpus(workers, available)
            # Ray has put a handler of its own in the place of ours: it prints a stack trace at SIGTERM.
            with interruptible(interrupt):
                up = Up(interrupt, *_open_desk())
                if workers.address is None:
                    _drop_environments_of_trials()
                done = doing.result()
                if interrupt.is_set():
                    raise KeyboardInterrupt
                yield up, done
        finally:
            ray.shutdown()


def connect(workers: Workers) -> None:
    """Starts Ray here with a processor for each worker, or joins the cluster at their address.

    Raises:
        InputError: no cluster answers.
    """
    import ray

    here = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    environment = {**_WORKER_SETTINGS, "PYTHONPATH": here}
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "error"}
    address = workers.address
    if address is None:
        # The workers inherit this process's environment. Had they one of their own, Ray would start each of them twice,
        # and would start processes ahead of need that no worker could use.
        os.environ.update(environment)
        with _bare_node():
            # A cluster named by the environment would be joined silently otherwise.
            ray.init(
                address="local",
                num_cpus=workers_here(workers),
                include_dashboard=False,
                _system_config={"preload_python_modules": ["cfsweep.sweep.preload"]},
                **options,
            )
        return
    try:
        refuse_silence(address)
        ray.init(address=address, runtime_env={"env_vars": environment}, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({reason[:200]}). Start one with `ray up cluster.yaml` "
            "or `ray start --head`, or leave `--address` out to use this machine."
        ) from error


@contextmanager
def _bare_node() -> Iterator[None]:
    """Within it, a node starts without three Python processes that a machine alone has no use for.

    They are the server of the dashboard (started even where no dashboard is wanted, and waited for), the autoscaler's
    monitor and the forwarder of the workers' logs. Ray has no setting for that; in a version that names them otherwise,
    they start, and nothing else changes.
    """
    from ray._private.node import Node

    extras = ("start_api_server", "start_monitor", "start_log_monitor")
    kept = {name: getattr(Node, name) for name in extras if hasattr(Node, name)}
    for name in kept:
        setattr(Node, name, lambda self, **options: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


def _drop_environments_of_trials() -> None:
    """Tune gives its actors an environment, of what the driver's holds too; no process that was started ahead has it.

    In a version of Tune that keeps it elsewhere, its actors wait for processes of their own, and nothing else changes.
    """
    from ray.tune.execution import class_cache

    os.environ.update(getattr(class_cache, "DEFAULT_ENV_VARS", {}))
    class_cache.DEFAULT_ENV_VARS = {}
    class_cache.ENV_VARS_TO_PROPAGATE = set()


def _open_desk() -> tuple[Any, str]:
    """The desk's actor, on this machine, and its name; its process is only starting."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from cfsweep.sweep.desk import Desk

    node = ray.get_runtime_context().get_node_id()
    name = f"desk-{node}-{os.getpid()}"
    desk = Desk.options(
        name=name,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        runtime_env={"env_vars": {NOT_FOR_PACKS: "1"}},
    )
    return desk.remote(), name


def workers_here(workers: Workers) -> int:
    """How many workers this machine is to have: Ray starts so many processes ahead."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    assert manager is not None
    visible = manager.get_current_process_visible_accelerator_ids()
    gpus = manager.get_current_node_num_accelerators() if visible is None else len(visible)
    return worker_resources(workers, {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)})[0]


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
