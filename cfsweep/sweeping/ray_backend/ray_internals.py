"""All that cfsweep uses of Ray beyond its public interface, by names of our own. Tried with Ray 2.60.

`tests/sweeping/ray_backend/test_ray_internals.py` says what has moved where a newer version breaks this.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONNECT_TIMEOUT_S = 5.0
LISTENER = "listen_error_messages"
NEEDLESS_PROCESSES = ("start_api_server", "start_monitor", "start_log_monitor")  # methods of Ray's Node


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


def dead_processes() -> dict[str, int]:
    """Ray's own processes that this one has started and that have ended by themselves, by name: their exit codes.

    In a version that keeps them elsewhere none is seen to end, and nothing else changes.
    """
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    return {name: process.returncode for name, process in getattr(node, "dead_processes", list)()}


def workers_that_load(module: str) -> dict[str, Any]:
    """The options of `ray.init` that let each process load `module` as soon as it starts, before there is work."""
    return {"_system_config": {"preload_python_modules": [module]}}


def drop_environments_of_trials() -> None:
    """Tune gives its actors an environment, of what the driver's holds too, credentials among it; no process that was
    started ahead has it, and no worker needs it.

    In a version of Tune that keeps it elsewhere, its actors wait for processes of their own, and nothing else changes.
    """
    from ray.tune.execution import class_cache

    os.environ.update(getattr(class_cache, "DEFAULT_ENV_VARS", {}))
    class_cache.DEFAULT_ENV_VARS = {}
    class_cache.ENV_VARS_TO_PROPAGATE = set()


def gpus_here() -> int:
    """How many GPUs of this machine Ray would use."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    assert manager is not None
    visible = manager.get_current_process_visible_accelerator_ids()
    return int(manager.get_current_node_num_accelerators() if visible is None else len(visible))


def require_listener(address: str) -> None:
    """Refuses an address at which nothing listens: Ray itself would retry for 15 minutes and log each attempt.

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
