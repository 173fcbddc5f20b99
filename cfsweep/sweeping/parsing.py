"""From YAML and the command line to a study, parsed once, with one clear line for whatever is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from cfsweep.config import RENAMED, Choices, Range, Space, StudyConfig
from cfsweep.errors import InputError, short, unknown
from cfsweep.files import expanded
from cfsweep.training import streams
from cfsweep.training.ingredients import hypers_of, registry
from cfsweep.training.plugins import named
from cfsweep.yaml_text import parse_yaml, read_yaml

Model = TypeVar("Model", bound=BaseModel)
_MARKS: dict[str, type[BaseModel]] = {"Range": Range, "Choices": Choices}  # pydantic's, of what is searched


OF_THE_FOLDER = ("first_seed", "identity_version", "purpose", "seeds_at_start", "stream.own_data")


def make_config(
    space: Path | Mapping[str, Any], options: Mapping[str, Any], settings: Iterable[str] | Mapping[str, Any]
) -> StudyConfig:
    """The study that a space (a file, or its content), options and further settings describe.

    `options` maps dotted keys of `StudyConfig` to values; None is passed over. `settings` are the command line's
    `key=value`, or values by such a key. All act on the content of the space, which is parsed once, afterwards.

    Raises:
        InputError: anything is wrong with them.
    """
    chosen = settings_of(settings)
    named([dict(options), chosen, *([] if isinstance(space, Path) else [dict(space)])])
    content: dict[str, Any] = {"space": read_yaml(space) if isinstance(space, Path) else deepcopy(dict(space))}
    origins: dict[str, str] = {}
    dashes, called = ("", "settings") if isinstance(settings, Mapping) else ("--", "--set")
    for key, value in options.items():
        if value is not None:
            _assign(content, key, value, called)
            shown = {"pack_runs": "pack", "stream.args": "arg" if dashes else "args"}
            origins[key] = dashes + shown.get(key, key.removesuffix(".name").split(".")[-1])
    # A network's name first, as it does away with what was said of another network.
    for key, value in sorted(chosen.items(), key=lambda pair: pair[0] != "network.name"):
        if key in OF_THE_FOLDER:
            raise InputError(f"{called} {key}: it is cfsweep's own note in a study's folder. Leave it out.")
        origins[_set(content, key, value, called)] = called
    stream, own = content.setdefault("stream", {}), content["space"]
    if isinstance(stream, dict) and isinstance(own, dict) and own.get("scenario") is not None:
        stream.setdefault("scenario", own["scenario"])
    if isinstance(stream, dict) and isinstance(own, dict) and own.get("trainer") is not None:
        stream.setdefault("name", own["trainer"])  # it has data of its own
    otherwise = str(space) if isinstance(space, Path) else "space"

    def origin(place: str) -> str:
        given = [by for key, by in origins.items() if f"{place}.".startswith(f"{key}.") or key.startswith(f"{place}.")]
        return given[-1] if given else otherwise

    return _with_absolute_paths(parse(StudyConfig, content, origin, inside="space"))


def settings_of(settings: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Values by key, from a mapping or from `key=value` texts, of which the last one counts. A number from a table of
    trials is numpy's, and becomes Python's.

    Raises:
        InputError: a text has another form.

    >>> settings_of({"lr": np.float32(0.5), "epochs": np.int64(3)}), settings_of(["lr=0.5"])
    ({'lr': 0.5, 'epochs': 3}, {'lr': 0.5})
    """
    pairs = settings.items() if isinstance(settings, Mapping) else assigned(settings)
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in pairs}


def assigned(assignments: Iterable[str], option: str = "--set") -> Iterator[tuple[str, Any]]:
    """The key and the value of each `key=value`.

    Raises:
        InputError: one has another form.

    >>> list(assigned(["lr=0.01", "ewc_labels=empirical"]))
    [('lr', 0.01), ('ewc_labels', 'empirical')]
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            example = "lr=0.001" if option == "--set" else "target=label"
            raise InputError(
                f"{option} {short(assignment)[1:-1]}: `key=value` is needed, such as `{option} {example}`."
            )
        yield key, parse_yaml(text, f"{option} {key}")


def parse(model: type[Model], content: Mapping[str, Any], where: str | Callable[[str], str], inside: str = "") -> Model:
    """`content` as `model`; `where` names its origin, or gives the origin of a dotted key. Keys that lie `inside` this
    one are shown without it.

    Raises:
        InputError: one line for the first rule that is broken; an unknown key names the known ones.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _as_one_line(model, content, error, where, inside) from error


def _as_one_line(
    model: type[BaseModel],
    content: Mapping[str, Any],
    error: ValidationError,
    where: str | Callable[[str], str],
    inside: str,
) -> InputError:
    def shown(path: list[str]) -> str:
        return ".".join(path[1:] if len(path) > 1 and path[0] == inside else path)

    def origin(path: list[str]) -> str:
        return where if isinstance(where, str) else where(".".join(path))

    errors = error.errors()
    first = errors[0]
    path = _place(content, first["loc"])
    name, got = short(shown(path))[1:-1], short(repr(first["input"]))[1:-1]
    # A mistyped key is reported once as unknown and, if it is needed, once as missing: the former helps more.
    strange = next((e for e in errors if e["type"] == "extra_forbidden"), None)
    if strange is not None:
        place = _place(content, strange["loc"])
        known = [shown([*place[:-1], key]) for key in _keys_at(model, place[:-1], strange["loc"])]
        return unknown(origin(place), "key", shown(place), known)
    if first["type"] == "missing":
        return InputError(f"{origin(path)}: `{name}` is missing, but got {got}. Add it.")
    if first["type"] == "value_error":
        message = str(first["msg"]).removeprefix("Value error, ")
        subject = f" must hold for `{path[-1]}`" if path else " must hold"
        return InputError(f"{origin(path)}: " + message.replace(" must hold", subject, 1))
    if not str(first["msg"]).startswith("Input should be "):
        return InputError(f"{origin(path)}: `{name}`: {first['msg']}, but got {got}.")
    if len(path) == 3 and path[:2] == ["space", "search"] and not isinstance(first["input"], Mapping):
        return InputError(
            f"{origin(path)}: `{name}` is to be searched, so `choices: [...]` or `low:` and `high:` are needed below "
            f"it, but got {got}. Write `{path[-1]}: {{choices: [...]}}`, or put a single value under `fixed`."
        )
    # A wrong value of a union reports once per member.
    rules = [str(e["msg"]).removeprefix("Input should be ") for e in errors if _place(content, e["loc"]) == path]
    rule = re.sub(r" or instance of \w+", "", " or ".join(dict.fromkeys(rules)))
    rule = rule.replace("dictionary", "mapping of keys to values")
    meant = difflib.get_close_matches(str(first["input"]), re.findall(r"'([^']+)'", rule), n=1)
    hint = f" Did you mean `{meant[0]}`?" if meant and first["type"] == "literal_error" else ""
    return InputError(f"{origin(path)}: `{name}` should be {rule}, but got {got}.{hint}")


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


def _set(content: dict[str, Any], key: str, value: Any, called: str) -> str:
    """Sets a value at its place, which is returned: `lr=0.01` fixes a hyperparameter, `stream.n_tasks=2` and
    `network.args.hidden=[64]` name theirs."""
    space = content["space"] if isinstance(content["space"], dict) else {}
    first, *rest = key.split(".")
    known = _hyper_names(space)
    if key in known:
        _forget(space, "search", key)
        key = f"space.fixed.{key}"
    elif first in Space.model_fields:
        if first == "search" and rest:
            _forget(space, "fixed", rest[0])
        key = f"space.{key}"
    elif first in RENAMED:
        key = ".".join([RENAMED[first], *rest])
    elif first not in StudyConfig.model_fields:
        raise unknown(called, "key", key, [*StudyConfig.model_fields, *Space.model_fields, *known])
    if key == "space.network.name":
        space["network"] = {}  # the arguments and the weights of one network are not those of another
    _assign(content, key, value, called)
    return key


def _hyper_names(space: Mapping[str, Any]) -> list[str]:
    """The hyperparameters of every trial, of all built-in ingredients, and of those that the space names."""
    if space.get("trainer") is not None:  # the settings are its own
        return [name for key in ("fixed", "search") if isinstance(space.get(key), dict) for name in space[key]]
    named = space.get("ingredients")
    own = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    try:
        listed = list(hypers_of(own))
    except InputError:  # which is reported when the space is checked
        listed = list(hypers_of(()))
    return list(dict.fromkeys([*listed, *(hyper.name for kind in registry.values() for hyper in kind.hypers)]))


def _forget(space: dict[str, Any], section: str, name: str) -> None:
    found = space.get(section)
    if isinstance(found, dict):
        found.pop(name, None)


def _assign(content: dict[str, Any], key: str, value: Any, called: str) -> None:
    *path, last = key.split(".")
    for part in path:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise InputError(f"{called} {key}: `{part}` holds a single value, so nothing lies below it.")
    content[last] = value


def _with_absolute_paths(config: StudyConfig) -> StudyConfig:
    """So that a study can be resumed from another folder, and without the environment it began in."""
    stream, changes = config.stream, {}
    root = stream.data or streams.default_data_root()
    if root is not None:
        changes["data"] = str(expanded(root).absolute())
    if stream.name not in streams.registry and expanded(stream.name).exists():
        changes["name"] = str(expanded(stream.name).absolute())
    if stream.name.startswith(streams.HUGGING_FACE):
        place = expanded(stream.name.removeprefix(streams.HUGGING_FACE))
        changes |= {"name": f"{streams.HUGGING_FACE}{place.absolute()}"} if place.exists() else {}
    space, network = config.space, config.space.network
    if network.init is not None:
        here = {"init": str(expanded(network.init).absolute())}
        space = space.model_copy(update={"network": network.model_copy(update=here)})
    return config.model_copy(update={"stream": stream.model_copy(update=changes), "space": space})
