"""When the processes of a sweep do what: copied into a folder as `sitecustomize.py`, on PYTHONPATH, it stamps them all.

So the code that is measured needs no stamps of its own, and any revision of it can be measured. Every Python process
that starts with that folder on its path, Ray's workers included, writes a line to the file `stamps` beside this one
when it starts, when it has imported a package of `IMPORTS`, and when a function of `CALLS` begins and ends.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

STAMPS = Path(__file__).with_name("stamps")
TRAINABLE = ("PackTrainable.setup", "PackTrainable.step", "unpack_stream")
CALLS = {  # by module: the function, or the method of a class
    "cfsweep.sweeping.parsing": ("make_config",),
    "cfsweep.sweeping.study": ("prepare", "begin"),
    "cfsweep.sweeping.ray_backend.scheduler": ("RayScheduler.run",),
    "cfsweep.sweeping.ray_backend.searcher": ("PackSearcher.suggest", "PackSearcher.on_trial_complete"),
    "cfsweep.sweeping.ray_backend.trainable": TRAINABLE,
    "cfsweep.training.loop": ("TaskLoop.run",),
    "ray._private.worker": ("init", "shutdown"),
    "ray.tune.tuner": ("Tuner.fit",),
}
EARLIER = {"cfsweep.sweeping.trainable": TRAINABLE}  # of revisions up to 36b1147
IMPORTS = ("torch", "ray", "ray.tune", "optuna", "cfsweep.sweeping.ray_backend.trainable", "cfsweep.sweeping.trainable")


def stamp(what: str) -> None:
    """Adds a line to the file; a short line that is appended is not torn by another process's."""
    line = json.dumps({"what": what, "at": time.time(), "pid": os.getpid(), "cpu_s": time.process_time()})
    with STAMPS.open("a") as file:
        file.write(line + "\n")


class Watcher(importlib.abc.MetaPathFinder):
    """Finds the watched modules as the others do, and stamps what happens in them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in CALLS and name not in EARLIER and name not in IMPORTS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _watched(name, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _watched(name: str, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def execute_and_stamp(module: ModuleType) -> None:
        execute(module)
        for function in CALLS.get(name) or EARLIER.get(name, ()):
            *classes, last = function.split(".")
            owner: Any = getattr(module, classes[0]) if classes else module
            if hasattr(owner, last):  # not in every revision
                setattr(owner, last, _stamped(function, getattr(owner, last)))
        if name in IMPORTS:
            stamp(f"{name} imported")

    return execute_and_stamp


def _stamped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        stamp(f"{name} begins")
        try:
            return function(*args, **kwargs)
        finally:
            stamp(f"{name} ends")

    return call


if __name__ == "sitecustomize":
    stamp("process begins")
    sys.meta_path.insert(0, Watcher())
