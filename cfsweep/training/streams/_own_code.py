"""Import a user's function by its path, `package.module:function`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cfsweep.errors import InputError, unknown
from cfsweep.training.streams._files import first_line


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


def own_function(path: str, where: str) -> Callable[..., Any]:
    """The function that `package.module:function` names; call it within `current_folder_importable`, too.

    Raises:
        InputError: there is no such module or function, or importing it fails; `where` opens the line.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InputError(f"{where}: a function is named `package.module:function`, but got `{path}`. Give both parts.")
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
        raise unknown(where, f"function in module `{module_name}`", name, [n for n in own if not n.startswith("_")])
    return found  # type: ignore[no-any-return]


def _import_failed(where: str, module_name: str, error: Exception) -> InputError:
    return InputError(f"{where}: importing `{module_name}` failed ({first_line(error)}). Import it alone to see more.")
