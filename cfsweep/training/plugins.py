"""What is not built in: a user's own object by its import path, or one of an installed package by its entry point.

A package names what it brings in its entry points, such as
`[project.entry-points."cfsweep.ingredients"] my-penalty = "my_package.penalties:MyPenalty"`; the groups are
`cfsweep.ingredients`, `cfsweep.streams`, `cfsweep.networks`, `cfsweep.targets`, `cfsweep.scores` and
`cfsweep.encoders`. Nothing is
imported before its use.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any, Literal

from cfsweep.errors import InputError, first_line, unknown

Group = Literal["ingredients", "streams", "networks", "targets", "scores", "encoders"]


@cache
def installed(group: Group) -> dict[str, str]:
    """The import path, `package.module:name`, of each entry point of a group, by its name."""
    return {point.name: point.value for point in metadata.entry_points(group=f"cfsweep.{group}")}


def path_of(group: Group, name: str) -> str | None:
    """The import path that `name` stands for: itself, or that of an entry point; None if it is neither."""
    path = installed(group).get(name, name)
    return path if ":" in path else None


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Within it, modules in the current folder can be imported, as under `python -m`, also by a command on the path."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def imported(path: str, where: str, kind: str = "function") -> Callable[..., Any]:
    """The callable that `package.module:name` names; call it within `current_folder_importable`, too.

    Raises:
        InputError: there is no such module or `kind` of thing, or importing it fails; `where` opens the line.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InputError(f"{where}: a {kind} is named `package.module:{kind}`, but got `{path}`. Give both parts.")
    if "<locals>" in name:
        raise InputError(f"{where}: `{name}` is defined within a function. Define it at the top of its module.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(where, module_name, error) from error
        raise InputError(
            f"{where}: there is no module `{error.name}` in the current folder ({os.getcwd()}) or installed. "
            "Check the spelling, or start cfsweep in the folder that holds it."
        ) from error
    except Exception as error:  # the user's module may raise anything
        raise _import_failed(where, module_name, error) from error
    found = getattr(module, name, None)
    if not callable(found):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name]
        raise unknown(where, f"{kind} in module `{module_name}`", name, [n for n in own if not n.startswith("_")])
    return found  # type: ignore[no-any-return]


def _import_failed(where: str, module_name: str, error: Exception) -> InputError:
    return InputError(f"{where}: importing `{module_name}` failed ({first_line(error)}). Import it alone to see more.")
