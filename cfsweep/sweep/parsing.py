"""From YAML to the models of `cfsweep.config`, with one clear line for whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cfsweep.config import Choices, Range
from cfsweep.errors import InputError, unknown

Model = TypeVar("Model", bound=BaseModel)
_MARKS: dict[str, type[BaseModel]] = {"Range": Range, "Choices": Choices}  # pydantic's, of what is searched


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-3` is a number as it is everywhere else."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, where: str = "YAML") -> Any:
    """The value of a YAML text.

    >>> parse_yaml("1e-3"), parse_yaml("[64, 64]"), parse_yaml("sgd")
    (0.001, [64, 64], 'sgd')

    Raises:
        InputError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(
            f"{where}: `{text}` is not valid YAML ({getattr(error, 'problem', error)}). Quote or close it."
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, not YAML, or no mapping.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed, but got {type(content).__name__}.")
    return content


def parse(model: type[Model], content: Mapping[str, Any], where: str | Callable[[str], str]) -> Model:
    """`content` as `model`; `where` names its origin, or gives the origin of a dotted key.

    Raises:
        InputError: one line for the first rule that is broken; an unknown key names the known ones.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _as_one_line(model, content, error, where) from error


def _as_one_line(
    model: type[BaseModel], content: Mapping[str, Any], error: ValidationError, where: str | Callable[[str], str]
) -> InputError:
    errors = error.errors()
    first = errors[0]
    path = _place(content, first["loc"])
    name, got = ".".join(path), repr(first["input"])
    where = where if isinstance(where, str) else where(name)
    # A mistyped key is reported once as unknown and, if it is needed, once as missing: the former helps more.
    strange = next((e for e in errors if e["type"] == "extra_forbidden"), None)
    if strange is not None:
        *above, last = _place(content, strange["loc"])
        known = [".".join([*above, key]) for key in _keys_at(model, above, strange["loc"])]
        return unknown(where, "key", ".".join([*above, last]), known)
    if first["type"] == "missing":
        return InputError(f"{where}: `{name}` is missing, but got {got}. Add it.")
    if first["type"] == "value_error":
        message = str(first["msg"]).removeprefix("Value error, ")
        subject = f" must hold for `{path[-1]}`" if path else " must hold"
        return InputError(f"{where}: " + message.replace(" must hold", subject, 1))
    if not str(first["msg"]).startswith("Input should be "):
        return InputError(f"{where}: `{name}`: {first['msg']}, but got {got}.")
    # A wrong value of a union reports once per member.
    rules = [str(e["msg"]).removeprefix("Input should be ") for e in errors if _place(content, e["loc"]) == path]
    rule = " or ".join(dict.fromkeys(rules)).replace("dictionary", "mapping of keys to values")
    return InputError(f"{where}: `{name}` should be {rule}, but got {got}.")


def _place(content: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys of `loc` that lead into `content`, and a last one that is missing there; no marks of pydantic's."""
    path: list[str] = []
    for at, part in enumerate(loc):
        inside: Any = dict(enumerate(content)) if isinstance(content, list) else content
        known: Any = inside if isinstance(inside, Mapping) else {}
        if part in known:
            content = known[part]
        elif not isinstance(content, Mapping) or at < len(loc) - 1 or part in _MARKS:
            continue
        path.append(str(part))
    return path


def _keys_at(model: type[BaseModel], path: list[str], loc: tuple[int | str, ...]) -> list[str]:
    kind: Any = next((_MARKS[str(part)] for part in loc if part in _MARKS), model)
    for part in path if kind is model else ():
        kind = kind.model_fields[part].annotation
    return list(kind.model_fields)
