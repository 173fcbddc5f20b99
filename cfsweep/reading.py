"""Reads files that somebody else may have written, and records of JSON, or says in one line what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cfsweep.errors import InputError, first_line, short
from cfsweep.files import open_regular

MOST_BYTES = 2**26  # of a text that is held in memory; those of cfsweep have a few kilobytes
Model = TypeVar("Model", bound=BaseModel)


def require_file(path: Path, where: str) -> None:
    """Makes sure that a file lies there: to open a pipe, say, would wait for ever.

    Raises:
        InputError: there is nothing, it cannot be read, or it is something else.
    """
    try:
        open_regular(path).close()
    except (OSError, ValueError) as error:  # of a name with a NUL
        said = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{where}: cannot be read ({said}). Check the path.") from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: there is none, it is too large, or it is not UTF-8.
    """
    require_file(path, str(path))
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: it has {path.stat().st_size} bytes, and {MOST_BYTES} are the most. Check the path.")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its text must be UTF-8 ({first_line(error)}). Save it as that.") from error


def parse_record(content: bytes | str, where: str, remedy: str) -> dict[str, Any]:
    """The mapping in a text of JSON.

    Raises:
        InputError: it is no JSON, or no mapping; `remedy` says what to do.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({first_line(error)}). {remedy}") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: a mapping is needed, but got {type(found).__name__}. {remedy}")
    return found


def checked(model: type[Model], content: Mapping[Any, Any], where: str, remedy: str) -> Model:
    """`content` as `model`.

    Raises:
        InputError: one line for the first rule that is broken.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{where}: {short(place)}: {said}, but got {short(first['input'])}. {remedy}") from error
