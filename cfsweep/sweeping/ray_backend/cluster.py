"""Ray, on this machine or on a cluster that is up, with workers that are warm when the first pack comes."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cfsweep.errors import InputError
from cfsweep.machine import cpus
from cfsweep.sweeping.interrupt import BESIDE, interruptible
from cfsweep.sweeping.ray_backend.deaths import Session, died, ends_with_ray, short
from cfsweep.sweeping.ray_backend.door import START, by_token
from cfsweep.sweeping.ray_backend.ray_internals import (
    bare_node,
    drop_environments_of_trials,
    gpus_here,
    handlers_stay,
    on_loopback,
    silent_driver,
    told_of_session,
    workers_that_load,
    workers_without,
)
from cfsweep.sweeping.ray_backend.session import own_session
from cfsweep.sweeping.restarts import NotThereError, Restarts, SchedulerDiedError
from cfsweep.sweeping.scheduler import Workers
from cfsweep.training.plugins import folders_of_code

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
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of a task that nobody asks for any more: a traceback of 100 lines
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
SHOWS_AT_ONCE_S = 0.1
NOT_FOR_PACKS = "CFSWEEP_NOT_FOR_PACKS"  # in the environment of a process that trains nothing
OURS = ("cfsweep", "analysis", "search_spaces")  # packages that a cluster has installed

T = TypeVar("T")


@dataclass(frozen=True)
class RunningRay:
    """Ray that is up: the event that Ctrl-C or SIGTERM sets, and the broker's actor with its name; `progressed` is to
    be set once a task was trained; the folder for what is temporary."""

    interrupt: threading.Event
    broker: Any
    broker_name: str
    progressed: threading.Event
    folder: Path | None = None


@contextmanager
def connected(workers: Workers) -> Iterator[RunningRay]:
    """Ray is up within it, with an empty broker; on this machine the workers are loading what a pack needs.

    Raises:
        InputError: no cluster answers at the address, or not by its token.
    """
    with connected_beside(workers, lambda: None) as (up, _):
        yield up


@contextmanager
def connected_beside(
    workers: Workers, work: Callable[[], T], restarts: Restarts | None = None
) -> Iterator[tuple[RunningRay, T]]:
    """`connected`, and what `work()` gives, which is done in a thread while Ray starts here; or before a cluster is
    joined, which has to be told of the code that it has loaded. `restarts` have gone before.

    Raises:
        SchedulerDiedError: Ray has failed within it.
        NotThereError: Ray does not come up, no cluster answers at the address.
        KeyboardInterrupt: Ctrl-C or SIGTERM came before all this was there.
    """
    os.environ.update(_TUNE_SETTINGS)
    import ray  # not in both threads at once

    if ray.is_initialized():
        raise InputError(
            "Ray is up in this process already, and cfsweep leaves it alone. Call `ray.shutdown()` first, or sweep "
            "with `--workers 0`, which does without Ray."
        )

    with interruptible(at_once=True) as interrupt, ExitStack() as afterwards:
        # It calls a pack that was begun again after its worker died an incomplete trial, in red, at the end.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        doing, session = _beside(work), Session(interrupt, workers.again, restarts or Restarts())
        try:
            if wait([doing], SHOWS_AT_ONCE_S if workers.address is None else None).done:
                doing.result()  # what is wrong shows before Ray has started, where torch was loaded before
            afterwards.enter_context(by_token(workers))
            own = afterwards.enter_context(own_session())
            with ends_with_ray(session, a_cluster=workers.address is not None):
                # In this thread: what Ray starts ends with the thread that started it.
                with told_of_session(own.made) if workers.address is None else nullcontext():
                    connect(workers)
                own.begin(a_cluster=workers.address is not None)
                # Its library has put a handler of its own in the place of ours: it prints a stack trace at SIGTERM.
                with interruptible(interrupt, at_once=True):
                    available = ray.cluster_resources()  # type: ignore[no-untyped-call]
                    refuse_missing_gpus(workers, available)
                    up = RunningRay(interrupt, *_start_broker(), session.progressed, own.folder)
                    drop_environments_of_trials()
                    done = doing.result()
                with interruptible(interrupt):
                    session.begun.set()
                    yield up, done
        except (ray.exceptions.RayError, SchedulerDiedError) as error:
            if interrupt.is_set():
                raise KeyboardInterrupt from error
            if isinstance(error, SchedulerDiedError):
                raise
            if not session.begun.is_set():
                raise NotThereError(died(error).what, died(error).remedy) from error
            raise died(error, session.progressed.is_set()) from error
        finally:
            ray.shutdown()
            if not interrupt.is_set():  # then nobody waits for it
                wait([doing])


def _beside(work: Callable[[], T]) -> Future[T]:
    """What `work()` gives, once a thread of its own has done it: one that no exit of the process waits for."""
    doing = Future[T]()

    def do() -> None:
        try:
            doing.set_result(work())
        except BaseException as error:  # raised where its result is asked for
            doing.set_exception(error)

    threading.Thread(target=do, name=BESIDE, daemon=True).start()
    return doing


def connect(workers: Workers) -> None:
    """Starts Ray here with a processor for each worker, or joins the cluster at their address.

    Raises:
        NotThereError: Ray does not start here, or no cluster answers.
        InputError: the cluster does not let this process in.
    """
    import ray

    path = [*folders_of_code(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**_WORKER_SETTINGS, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, path)))}
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "error"}
    if not folders_of_code():
        options |= workers_without(os.getcwd())
    address = workers.address
    if address is None:
        # The workers inherit this process's environment. Had they one of their own, Ray would start each of them twice,
        # and would start processes ahead of need that no worker could use.
        os.environ.update(environment)
        with bare_node(), on_loopback(), silent_driver(), handlers_stay():
            try:
                # A cluster named by the environment would be joined silently otherwise.
                ray.init(
                    address="local",
                    num_cpus=workers_here(workers),
                    include_dashboard=False,
                    **workers_that_load("cfsweep.sweeping.ray_backend.preload"),
                    **options,
                )
            except Exception as error:  # of many kinds: paths, memory, ports, processes that die
                raise NotThereError(f"Ray cannot start on this machine ({short(error)})", _remedy(error)) from error
        return
    code = [str(path) for path in own_code(Path.cwd(), *_python_path())]
    for_workers: dict[str, Any] = {"env_vars": _WORKER_SETTINGS, **({"py_modules": code} if code else {})}
    try:
        with silent_driver(), handlers_stay():
            ray.init(address=address, runtime_env=for_workers, **options)
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise InputError(
            f"--address {address}: your code ({', '.join(code)}) could not be sent ({short(error)}). Ray sends 512 MiB "
            "of a package at most. Keep data out of it: a stream reads them on this machine alone."
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        sent = f" and your code ({', '.join(code)}) could not be sent" if code else ""
        raise NotThereError(
            f"--address {address}: the Ray cluster cannot be joined{sent} ({short(error)})", START
        ) from error


def _remedy(error: Exception) -> str:
    without = "sweep with `--workers 0`, which does without Ray"
    if "AF_UNIX path length" in str(error):
        return (
            f"Its sockets lie below TMPDIR: set TMPDIR (or RAY_TMPDIR) to a shorter path, such as /tmp; or {without}."
        )
    return f"See that it has memory, processes and a folder for its files ({tempfile.gettempdir()}); or {without}."


def _python_path() -> list[Path]:
    """The folders that PYTHONPATH names."""
    return [Path(folder).absolute() for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]


def own_code(*folders: Path) -> list[Path]:
    """The packages and modules below these folders that this process has imported: networks, streams and ingredients
    of the user's own, and what they need. Whatever is installed is left out, and so are Python's own modules and
    cfsweep."""
    found, pythons_own = [], sysconfig.get_path("stdlib")  # which may lie below the user's home
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or "." in name or name in (*OURS, "__main__"):
            continue
        place = Path(next(iter(spec.submodule_search_locations or ()), None) or spec.origin or "")
        installed = place.is_relative_to(pythons_own) or {"site-packages", "dist-packages"} & {*place.parts}
        if not installed and any(place.is_relative_to(folder) for folder in folders):
            found.append(place)
    return sorted(set(found))


def _start_broker() -> tuple[Any, str]:
    """The broker's actor, on this machine, and its name; its process is only starting."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from cfsweep.sweeping.ray_backend.broker_actor import BrokerActor

    node = ray.get_runtime_context().get_node_id()
    name = f"broker-{uuid.uuid4().hex}"  # processes of several machines may have the same number
    broker = BrokerActor.options(
        name=name,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        runtime_env={"env_vars": {NOT_FOR_PACKS: "1"}},
    )
    return broker.remote(), name


def workers_here(workers: Workers) -> int:
    """How many workers this machine is to have: Ray starts so many processes ahead."""
    return worker_resources(workers, {"CPU": float(cpus()), "GPU": float(gpus_here())})[0]


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


def worker_resources(workers: Workers, available: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """How many workers, and what each takes, given what Ray has.

    >>> worker_resources(Workers(), {"CPU": 16.0, "GPU": 2.0})
    (2, {'CPU': 1, 'GPU': 1.0})
    >>> worker_resources(Workers(gpus_each=0.0), {"CPU": 16.0, "GPU": 2.0})
    (16, {'CPU': 1})
    """
    gpus = workers.gpus_each if workers.gpus_each is not None else float(available.get("GPU", 0) >= 1)
    each: dict[str, float] = {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1}
    return workers.count or fitting(each, available), each


def fitting(each: Mapping[str, float], available: Mapping[str, float]) -> int:
    """How many workers there is room for that take `each`; one at least.

    >>> fitting({"CPU": 1}, {"CPU": 24.0, "GPU": 1.0}), fitting({"CPU": 1, "GPU": 1.0}, {"CPU": 24.0})
    (24, 1)
    """
    return max(1, min(int(available.get(name, 0) / amount) for name, amount in each.items()))
