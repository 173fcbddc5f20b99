"""All that cfsweep uses of Ray beyond its public interface, by names of our own. Tried with Ray 2.60.

`tests/sweeping/ray_backend/test_ray_internals.py` says what has moved where a newer version breaks this.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONNECT_TIMEOUT_S = 5.0
RAYLET, GCS = "the raylet", "the GCS"
REUSE, ACTORS, MOST_PENDING = "_maybe_reuse_cached_actor", "_actor_manager", "TUNE_MAX_PENDING_TRIALS_PG"
LISTENER = "listen_error_messages"
NEEDLESS_PROCESSES = ("start_api_server", "start_monitor", "start_log_monitor")  # methods of Ray's Node
MAKES_FOLDER = "_init_temp"  # method of Ray's Node
ON_A_NETWORK = "ENABLE_RAY_CLUSTER"
RAYLETS_LOG, SAYS_ITS_END = "raylet.out", "Raylet received SIGTERM"


@contextmanager
def bare_node() -> Iterator[None]:
    """Within it, a node starts without three Python processes that a machine alone has no use for.

    They are the server of the dashboard (started even where no dashboard is wanted, and waited for), the autoscaler's
    monitor and the forwarder of the workers' logs. Ray has no setting for that; in a version that names them otherwise,
    they start, and nothing else changes.
    """
    from ray._private.node import Node

    kept = {name: getattr(Node, name) for name in NEEDLESS_PROCESSES if hasattr(Node, name)}
    for name in kept:
        setattr(Node, name, lambda self, **options: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


@contextmanager
def told_of_session(made: Callable[[Path], None]) -> Iterator[None]:
    """Within it, `made` is called with the folder of a node that starts here, as soon as the folder is there and before
    a process of the node is. In a version that makes it elsewhere, `made` is not called."""
    from ray._private.node import Node

    kept = getattr(Node, MAKES_FOLDER, None)
    if kept is None:
        yield
        return

    def makes_folder(node: Any, *args: Any, **options: Any) -> None:
        kept(node, *args, **options)
        made(Path(node.get_session_dir_path()))

    setattr(Node, MAKES_FOLDER, makes_folder)
    try:
        yield
    finally:
        setattr(Node, MAKES_FOLDER, kept)


@contextmanager
def on_loopback() -> Iterator[None]:
    """Within it, a node that starts takes 127.0.0.1 for its address, and none of its processes listens elsewhere.

    Ray does so by itself where it is not meant for clusters, on Windows and macOS; the address that `ray.init` takes is
    replaced by one that others reach. In a version that has no such flag, the node listens on all addresses.
    """
    from ray._private import ray_constants

    kept = getattr(ray_constants, ON_A_NETWORK, None)
    if kept is None:
        yield
        return
    setattr(ray_constants, ON_A_NETWORK, False)
    try:
        yield
    finally:
        setattr(ray_constants, ON_A_NETWORK, kept)


def session_folder() -> Path | None:
    """The folder with the sockets and logs of the Ray that is up, where this version says so."""
    from ray._private import worker

    path = getattr(getattr(worker, "_global_node", None), "get_session_dir_path", lambda: None)()
    return None if path is None else Path(path)


def agents_end_with_raylet(session: Path) -> None:
    """Has a node's two agents end at once where raylet and GCS are killed, as they are with the driver. Unless the
    raylet's log says that it was meant to end, they first try for a minute to tell the GCS of it. In a version that has
    its logs elsewhere, they do."""
    if not (session / "logs").is_dir():
        return
    with (session / "logs" / RAYLETS_LOG).open("a") as log:
        log.write(f'cfsweep: agents need not report that it was killed, for they find here: "{SAYS_ITS_END}"\n')


@contextmanager
def authenticated(**variables: str) -> Iterator[None]:
    """Within it this process, and what it starts, uses the token that these variables of the environment say. Ray that
    is up goes on with what it was started with."""
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _read_environment()
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _read_environment()


def _read_environment() -> None:
    _of_raylet("Config").initialize("")
    _of_raylet("AuthenticationTokenLoader").instance().reset_cache()


def _of_raylet(name: str) -> Any:
    """A class of Ray's library in C++, of whose types it says nothing."""
    from ray import _raylet

    return getattr(_raylet, name)


def has_token() -> bool:
    """Whether Ray finds a token. Where RAY_AUTH_TOKEN_PATH is no file that can be read, it ends this process."""
    return bool(_of_raylet("AuthenticationTokenLoader").instance().has_token(ignore_auth_mode=True))


def lets_in(place: str) -> bool:
    """Whether the cluster at `host:port` answers this process, `authenticated` as it is.

    Raises:
        RuntimeError: what listens there is no cluster of this version.
    """
    from ray.exceptions import AuthenticationError

    with _silent():  # Ray's library prints a line of C++
        try:
            _of_raylet("GcsClient")(address=place).internal_kv_keys(b"", b"session", timeout=CONNECT_TIMEOUT_S)
        except AuthenticationError:
            return False
    return True


@contextmanager
def _silent() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def silent_driver() -> Iterator[None]:
    """Within it Ray is joined without the thread that prints what goes wrong in Ray's own processes, stacks and all;
    what that means for a sweep is told by the errors that its calls raise. In a version that names the thread's
    function otherwise, it is printed, and nothing else changes."""
    from ray._private import worker

    kept = getattr(worker, LISTENER, None)
    if kept is None:
        yield
        return
    setattr(worker, LISTENER, lambda *_: None)
    try:
        yield
    finally:
        setattr(worker, LISTENER, kept)


@contextmanager
def handlers_stay() -> Iterator[None]:
    """Within it Ray is joined without a handler of its own for SIGTERM, which prints a stack and ends the process. In a
    version that sets it otherwise it is there until another one takes its place."""
    from ray._private import utils

    kept = getattr(utils, "set_sigterm_handler", None)
    if kept is None:
        yield
        return
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = kept


def dead_processes() -> dict[str, int]:
    """Ray's own processes that this one has started and that have ended by themselves, by name: their exit codes.

    In a version that keeps them elsewhere none is seen to end, and nothing else changes.
    """
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    return {name: process.returncode for name, process in getattr(node, "dead_processes", list)()}


def kill_processes() -> None:
    """Kills what is left of Ray's own processes that this one has started, and so the workers, which end with them."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    for infos in dict(getattr(node, "all_processes", {})).values():
        for info in infos:
            info.process.kill()
            info.process.wait()


def lost_of_cluster() -> str:
    """Which of the two processes of a cluster that this one talks to does not take a connection: its raylet on this
    machine, or its GCS; nothing where both do. In a version that names their places otherwise none is seen to end."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    raylet, gcs = (str(getattr(node, name, None) or "") for name in ("raylet_socket_name", "gcs_address"))
    if raylet and not _connects(socket.AF_UNIX, raylet.removeprefix("unix://")):
        return RAYLET
    host, _, port = gcs.rpartition(":")
    return GCS if host and not _connects(socket.AF_INET, (host.strip("[]"), int(port))) else ""


def _connects(family: socket.AddressFamily, place: Any) -> bool:
    try:
        if family == socket.AF_UNIX:
            with socket.socket(family, socket.SOCK_STREAM) as asked:
                asked.settimeout(CONNECT_TIMEOUT_S)
                asked.connect(place)
        else:
            socket.create_connection(place, timeout=CONNECT_TIMEOUT_S).close()
    except (ConnectionError, FileNotFoundError, TimeoutError):
        return False
    except OSError:  # of this machine: too many files are open, say
        return family == socket.AF_UNIX
    return True


def workers_that_load(module: str) -> dict[str, Any]:
    """The options of `ray.init` that let each process load `module` as soon as it starts, before there is work."""
    return {"_system_config": {"preload_python_modules": [module]}}


class _Without(list[str]):
    """Folders, of which one is never among them."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def extend(self, folders: Iterable[str]) -> None:
        super().extend(folder for folder in folders if folder != self.folder)


def workers_without(folder: str) -> dict[str, Any]:
    """The options of `ray.init` with which no worker looks for modules in `folder`, as Ray has them do in the working
    folder. In a version that keeps its folders elsewhere they do."""
    from ray.job_config import JobConfig

    job = JobConfig()
    job._py_driver_sys_path = _Without(folder)
    return {"job_config": job}


def drop_environments_of_trials() -> None:
    """Tune gives its actors an environment, of what the driver's holds too, credentials among it; no process that was
    started ahead has it, and no worker needs it.

    In a version of Tune that keeps it elsewhere, its actors wait for processes of their own, and nothing else changes.
    """
    from ray.tune.execution import class_cache

    os.environ.update(getattr(class_cache, "DEFAULT_ENV_VARS", {}))
    class_cache.DEFAULT_ENV_VARS = {}
    class_cache.ENV_VARS_TO_PROPAGATE = set()


@contextmanager
def new_workers_kept(seconds: float, room: Callable[[], int]) -> Iterator[None]:
    """Within it a trial whose actor is on its way waits for that, for so many seconds, where the cluster has `room` for
    more actors than are up; another one takes what is free.

    Tune gives it the first old actor that is free, and ends the new one on its way: as long as one takes longer to
    start than a pack to train, a node that has joined would never be of use. In a version that does this elsewhere, it
    is so. Where there is no room, the new one would wait for the place of the old one, which is kept for another pack.
    """
    from ray.tune.execution.tune_controller import TuneController

    reuse: Any = getattr(TuneController, REUSE, None)
    if reuse is None:
        yield
        return
    begun: dict[str, float] = {}

    def waits_or_reuses(controller: Any, trial: Any) -> bool:
        now, is_on_its_way = time.monotonic(), trial in getattr(controller, "_trial_to_actor", ())
        is_on_its_way = is_on_its_way and trial.status == "PENDING"
        if is_on_its_way and now - begun.setdefault(trial.trial_id, now) < seconds and room() > n_up(controller):
            return False
        return bool(reuse(controller, trial))

    def n_up(controller: Any) -> int:
        return int(getattr(getattr(controller, ACTORS, None), "num_live_actors", 0))

    before = os.environ.get(MOST_PENDING)
    os.environ[MOST_PENDING] = "1000"  # beside the one that waits; no more are handed out than there is room for
    setattr(TuneController, REUSE, waits_or_reuses)
    try:
        yield
    finally:
        setattr(TuneController, REUSE, reuse)
        os.environ.pop(MOST_PENDING)
        if before is not None:
            os.environ[MOST_PENDING] = before


def gpus_here() -> int:
    """How many GPUs of this machine Ray would use."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    assert manager is not None
    visible = manager.get_current_process_visible_accelerator_ids()
    return int(manager.get_current_node_num_accelerators() if visible is None else len(visible))


def require_listener(address: str) -> str:
    """`host:port` of an address. One at which nothing listens is refused: Ray itself would retry for 15 minutes and log
    each attempt.

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
    return str(place)
