"""What a space may be given as: a file, the name of a shipped one, or its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfsweep.errors import InputError, unknown

Space = str | Path | Mapping[str, Any]


def space_of(space: Space) -> tuple[Path | Mapping[str, Any], str]:
    """The space's file, or its content; and what it is called.

    >>> space_of({"ingredients": ["replay"]})
    ({'ingredients': ['replay']}, 'space')

    Raises:
        InputError: no shipped space has this name, or it is something else.
    """
    import search_spaces

    if isinstance(space, Mapping):
        return space, "space"
    try:
        path = Path(space)
    except TypeError:
        kind = type(space).__name__
        raise InputError(
            f"space: a file, the name of a shipped one, or a mapping is needed, but got {kind}. Give one of these."
        ) from None
    if path.is_file() or path.parent != Path():
        return path, path.stem
    known = search_spaces.names()
    if str(path) in known:
        return search_spaces.path(str(path)), path.stem
    if path.suffix in (".yaml", ".yml"):
        return path, path.stem  # which is told to be missing
    raise unknown("cfsweep", "space", str(path), known)
