"""Which files code of one's own is made of, and their hashes: if one of them changes, it is other code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_INSTALLED = {"site-packages", "dist-packages"}
_NOT_OWN = frozenset({*sys.stdlib_module_names, "cfsweep", "torch", "numpy"}) - {"__main__"}


def modules_of(kind: type) -> list[str]:
    """The modules that define a class and its bases, those of Python, cfsweep, torch and of other installed packages
    aside."""
    own = kind.__module__.partition(".")[0]
    names = dict.fromkeys(base.__module__ for base in kind.__mro__)
    tops = {name: name.partition(".")[0] for name in names}
    return [name for name, top in tops.items() if top not in _NOT_OWN and (top == own or not _is_installed(name))]


def modules_named(names: Iterable[str]) -> list[str]:
    """The modules of those names that are import paths, `package.module:name`.

    >>> modules_named(["crop", "mine.pictures:jitter"])
    ['mine.pictures']
    """
    return [name.partition(":")[0] for name in names if ":" in name]


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and bool(_INSTALLED & set(Path(file).parts))


def digests(modules: Iterable[str]) -> dict[str, str | None]:
    """The SHA-256 of each file of Python that these modules, which are loaded, are made of: their own, and those of
    what they import from beside them, as the text says it. By the path that follows from the module's name; None where
    a module has no file, as what was typed in.

    What an installed package imports from others than itself is not followed: those have versions.
    """
    found: dict[str, str | None] = {}
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None:
            found[name] = None
            continue
        path = Path(file).absolute()
        root = path.parents[name.count(".") + (path.name == "__init__.py")]
        for part in _closure(name, path, root):
            found[str(part.relative_to(root))] = hashlib.sha256(part.read_bytes()).hexdigest()
    return found


def altered(known: Mapping[str, str]) -> list[str]:
    """Those of the files of `digests`, of which `known` has the SHA-256, that whoever imports them now finds otherwise.
    What cannot be found here is none of them: to import it will tell."""
    found = []
    for path, digest in known.items():
        if not path.endswith(".py"):  # an encoder, by its own name
            continue
        name = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        try:
            spec = importlib.util.find_spec(name)
            file = None if spec is None or spec.origin is None else Path(spec.origin)
            if file is not None and hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                found.append(path)
        except (Exception, SystemExit):  # a package above it is the user's own, and runs
            continue
    return found


def _closure(name: str, path: Path, root: Path) -> set[Path]:
    """The file of a module, and those below `root` that it imports, directly or not."""
    only = name.partition(".")[0] if _INSTALLED & set(root.parts) else ""
    found, pending = {path}, [(name, path)]
    while pending:
        importer, file = pending.pop()
        for imported in _imports(importer, file):
            top = imported.partition(".")[0]
            if top in _NOT_OWN or (only and top != only):
                continue
            for module, place in _files(imported, root):
                if place not in found:
                    found.add(place)
                    pending.append((module, place))
    return found


def _imports(name: str, file: Path) -> Iterator[str]:
    """The names of all that a file may import; of `from a import b`, both `a` and `a.b`."""
    if file.suffix != ".py":
        return
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # which whoever imports it has taken into account
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _files(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """The files that importing `name` would load, if they lie below `root`: packages above it, too."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:length])
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                yield ".".join(parts[:length]), file
