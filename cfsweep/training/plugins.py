"""What is not built in: a user's own object by its import path, or one of an installed package by its entry point.

A package names what it brings in its entry points, such as
`[project.entry-points."cfsweep.ingredients"] my-penalty = "my_package.penalties:MyPenalty"`; the groups are
`cfsweep.ingredients`, `cfsweep.streams`, `cfsweep.networks`, `cfsweep.targets`, `cfsweep.scores` and
`cfsweep.encoders`. Nothing is
imported before its use.

An import path is code that runs. It is followed where the user has `named` it, where an installed package registers it,
or where its module lies in the working folder; one that only a file names, a space, a `study.yaml` or a bundle that may
come from anywhere, is refused unless the user is `trusting` (SECURITY.md). All of them come through `imported`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from cfsweep.errors import InputError, first_line, unknown

Group = Literal["ingredients", "streams", "networks", "targets", "scores", "encoders"]

_KNOWN = ("cfsweep.encoders", "torchvision.transforms")  # modules of which anything may be named by a file
_NEVER = ("torch.hub",)  # beside Python's own: they fetch code, or run what they are given
_INSTALLED = ("site-packages", "dist-packages")
_TRIES = 100  # to see new files beside imports in other threads
_BROUGHT = ("study.yaml", "model.json")  # of a folder that came with these a file may not name the code
_named: set[str] = set()  # import paths, by the user of this process
_trusted: list[None] = []  # one for each `trusting` that is open


@cache
def installed(group: Group) -> dict[str, str]:
    """The import path, `package.module:name`, of each entry point of a group, by its name."""
    return {point.name: point.value for point in metadata.entry_points(group=f"cfsweep.{group}")}


def path_of(group: Group, name: str) -> str | None:
    """The import path that `name` stands for: itself, or that of an entry point; None if it is neither."""
    path = installed(group).get(name, name)
    return path if ":" in path else None


def import_paths(content: object) -> list[str]:
    """Each text in `content`, and in what that contains, that may be an import path.

    >>> import_paths({"network": {"name": "mine:net"}, "scores": ["a:b,c:d", "accuracy"]})
    ['a:b', 'c:d', 'mine:net']
    """
    pending, seen, found = [content], set[int](), set[str]()
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            found |= {part.strip() for part in one.split(",") if ":" in part}
        elif isinstance(one, Mapping | list | tuple | set) and id(one) not in seen:
            seen.add(id(one))  # it may contain itself
            pending += one.values() if isinstance(one, Mapping) else one
    return sorted(found)


def named(content: object) -> None:
    """Takes the import paths in `content` for named by the user, so that they are followed."""
    _named.update(import_paths(content))


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Within it, if the user says so, import paths are followed that a file alone names: a space, a study, a bundle.

    `with cfsweep.trusting(): model = cfsweep.load("from-elsewhere")` runs the code that this bundle names, wherever in
    the environment it lies (SECURITY.md).
    """
    if trust:
        _trusted.append(None)
    try:
        yield
    finally:
        if trust:
            _trusted.pop()


def by_files_alone(paths: Iterable[str | None]) -> list[str]:
    """Those of import paths that neither the user has named nor an installed package registers."""
    known = {path for group in get_args(Group) for path in installed(group).values()} | _named
    own = (path for path in paths if path is not None and ":" in path and path not in known)
    return [path for path in dict.fromkeys(own) if not _is_below(path.partition(":")[0], _KNOWN)]


def is_trusting() -> bool:
    return bool(_trusted)


@contextmanager
def contained() -> Iterator[None]:
    """Within it, code of the user's cannot end the process: what it raises that is no `Exception` is a RuntimeError,
    but for an interrupt of the user's."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RuntimeError(f"it asked Python to end by {first_line(error)}") from error


def folders_of_code() -> list[str]:
    """The working folder, if the user's own code may lie there. A results folder or a bundle is no place for code: a
    file there would be taken for any package that is imported."""
    return [] if _is_brought(Path.cwd()) else [os.getcwd()]


def _see_new_files() -> None:
    for left in reversed(range(_TRIES)):
        try:
            importlib.invalidate_caches()
        except RuntimeError:  # it walks a dict that an import in another thread, as Ray has them, adds to meanwhile
            if not left:
                raise
        else:
            return


@contextmanager
def current_folder_importable() -> Iterator[None]:
    """Within it, modules in the current folder can be imported, as under `python -m`, also by a command on the path, if
    it is one of `folders_of_code`; and what is run is `contained`."""
    paths = folders_of_code()
    sys.path[:0] = paths
    try:
        _see_new_files()
        with contained():
            yield
    finally:
        for path in paths:
            sys.path.remove(path)


def imported(path: str, where: str, kind: str = "function") -> Callable[..., Any]:
    """The callable that `package.module:name` names; call it within `current_folder_importable`, too.

    Raises:
        InputError: there is no such module or `kind` of thing, importing it fails, or nobody but a file has named it;
            `where` opens the line.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise InputError(f"{where}: a {kind} is named `package.module:{kind}`, but got `{path}`. Give both parts.")
    if "<locals>" in name:
        raise InputError(f"{where}: `{name}` is defined within a function. Define it at the top of its module.")
    is_of_file = _require_trust(path, module_name, where, kind)
    try:
        with contained():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(where, module_name, error) from error
        raise _not_found(where, error.name) from error
    except Exception as error:  # the user's module may raise anything
        raise _import_failed(where, module_name, error) from error
    found = getattr(module, name, None)
    if not callable(found):
        own = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module_name]
        raise unknown(where, f"{kind} in module `{module_name}`", name, [n for n in own if not n.startswith("_")])
    if is_of_file and not _is_trusted(_defined_in(found) or module_name):
        raise _untrusted(path, where, f" (it is `{_defined_in(found)}`'s)")
    return found  # type: ignore[no-any-return]


def _import_failed(where: str, module_name: str, error: Exception) -> InputError:
    return InputError(f"{where}: importing `{module_name}` failed ({first_line(error)}). Import it alone to see more.")


def _require_trust(path: str, module: str, where: str, kind: str) -> bool:
    """Whether the path may be followed because of where its module lies alone.

    Raises:
        InputError: it may not be followed, or leads to no module, which no trust would help.
    """
    if _is_pythons_own(module) or _is_below(module, _NEVER):
        raise InputError(f"{where}: `{path}` is no {kind} for cfsweep to run. Name one of your own.")
    registered = (path for group in get_args(Group) for path in installed(group).values())
    if _trusted or path in _named or path in registered:
        return False
    if not _is_trusted(module):
        top = module.partition(".")[0]
        is_somewhere = _place_of(top) or _is_brought(Path.cwd())  # where nothing can be imported
        raise _untrusted(path, where) if is_somewhere else _not_found(where, top)
    return True


def _not_found(where: str, module: str) -> InputError:
    return InputError(
        f"{where}: there is no module `{module}` in the current folder ({os.getcwd()}) or installed. Check the "
        "spelling, or start cfsweep in the folder that holds it."
    )


def _untrusted(path: str, where: str, more: str = "") -> InputError:
    return InputError(
        f"{where}: `{path}`{more} is code that a file names, not you, and that is not in the working folder. If it "
        "is yours, start cfsweep in the folder that holds it; if you know where the file comes from, allow it with "
        "--trust (in Python `with cfsweep.trusting():`)."
    )


def _is_trusted(module: str) -> bool:
    """Whether code of this module is run because a file names it: it is the user's, or known."""
    return module == "__main__" or _is_below(module, _KNOWN) or _in_working_folder(module)


def _is_below(module: str, packages: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _is_pythons_own(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names and top != "__main__" and not _in_working_folder(module)


def _in_working_folder(module: str) -> bool:
    """Whether importing a module would run, or has run, a file of the working folder, and none of an environment or of
    a results folder or bundle there. Nothing is imported."""
    top, *rest = module.split(".")
    start, here = _place_of(top), Path.cwd()
    if top == "cfsweep" or start is None or not start.is_relative_to(here):
        return False
    if set(_INSTALLED) & set(start.relative_to(here).parts) or start.is_relative_to(sysconfig.get_path("stdlib")):
        return False
    folders = [start.parent if start.suffix else start]
    for part in rest:
        folders.append(folders[-1] / part)
    folders += [above for above in folders[0].parents if above.is_relative_to(here)]
    return not any(map(_is_brought, folders))


def _is_brought(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _BROUGHT)


def _place_of(top: str) -> Path | None:
    """The file of a module that is in no package, or the folder of a package; None if there is none."""
    module = sys.modules.get(top)
    spec = getattr(module, "__spec__", None)
    if module is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
    folders = list(getattr(spec, "submodule_search_locations", None) or ())
    found = folders[0] if folders else getattr(spec, "origin", None) or getattr(module, "__file__", None)
    return None if found is None or not os.path.isabs(found) else Path(os.path.normpath(found))


def _defined_in(found: object) -> str | None:
    """The module that defines what an import path leads to: a name may be one that the module has from elsewhere."""
    while isinstance(found, partial):
        found = found.func
    name = getattr(found, "__module__", None)
    return name if isinstance(name, str) else None
