"""Which studies are the same: a hash of what a study says beyond the defaults, which survives new settings.

A study keeps the identity version that it began with. A new setting whose default means what was before needs nothing
here: studies that do not use it hash as they did. Where a default is changed, `VERSION` goes up, and the default that
the earlier versions had goes into `EARLIER_DEFAULTS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

VERSION = 3  # of studies that begin now; those of version 0 have all their settings in their hash
BY_DATA = 3  # from this version on data of one's own are told by what they are, before by where they lay

# By version, model and field, the defaults that are others today.
EARLIER_DEFAULTS: dict[int, dict[tuple[str, str], Any]] = {
    0: {("StreamConfig", "standardise"): "scalar"},
    1: {("StreamConfig", "standardise"): "scalar"},
    2: {},
    3: {},
}

# What version 0 hashed of each model, at its default too.
_FIELDS_0: dict[str, tuple[str, ...]] = {
    "StudyConfig": (
        *("space", "stream", "objective", "seeds", "sampler_seed", "stop_trials", "references"),
        "curve_points_per_task",
    ),
    "Space": ("description", "scenario", "network", "ingredients", "fixed", "search"),
    "NetworkConfig": ("name", "args"),
    "Range": ("low", "high", "log", "zero"),
    "Choices": ("choices",),
    "StreamConfig": ("name", "scenario", "class_order", "n_tasks", "validation_frac", "split_seed", "args"),
    "ObjectiveConfig": ("name", "old_weight", "third"),
}
_NAMES_0 = {"stop_trials": "early_stopping"}  # as they were then


def study_id(config: BaseModel, version: int, no_part: Mapping[str, Any]) -> str:
    """12 hexadecimal digits; equal for studies that differ in `no_part` alone, given as for `model_dump(exclude=)`."""
    if version == 0:
        # The size of packs had a part once: ids with its default stay.
        return content_hash({**_settings_of_0(config, no_part), "pack_runs": 8})
    return content_hash(differing(config, version, no_part))


def with_earlier_defaults(model: type[BaseModel], content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a study that an earlier version wrote, with what went without saying then and is otherwise now.
    Only settings of `model` and of the models that are its fields are filled in."""
    earlier = EARLIER_DEFAULTS.get(content["identity_version"], {})
    found = dict(content)
    for (of, name), default in earlier.items():
        if of == model.__name__:
            found.setdefault(name, default)
        for key, field in model.model_fields.items():
            kind, inside = field.annotation, found.get(key, {})
            if isinstance(kind, type) and kind.__name__ == of and isinstance(inside, Mapping):
                found[key] = {name: default, **inside}
    return found


def differing(model: BaseModel, version: int, no_part: Mapping[str, Any]) -> dict[str, Any]:
    """What `model` says beyond the defaults of an identity version, as plain containers.

    A model inside counts by what it says beyond its own defaults, which are one model's wherever it stands.
    """
    earlier, found = EARLIER_DEFAULTS[version], {}
    for name, field in type(model).model_fields.items():
        left_out, value = no_part.get(name, {}), getattr(model, name)
        default = earlier.get((type(model).__name__, name), field.get_default(call_default_factory=True))
        if left_out is True:
            continue
        if isinstance(value, BaseModel):
            inside = differing(value, version, left_out)
            if inside or not isinstance(default, BaseModel):
                found[name] = inside
        elif value != default:
            found[name] = _plain(value, lambda one: differing(one, version, {}))
    return found


def _settings_of_0(model: BaseModel, no_part: Mapping[str, Any]) -> dict[str, Any]:
    """All settings that there were, and those that came later where they are not at their default."""
    of, found = type(model).__name__, {}
    then = _FIELDS_0[of]
    for name, field in type(model).model_fields.items():
        default = EARLIER_DEFAULTS[0].get((of, name), field.get_default(call_default_factory=True))
        value = getattr(model, name)
        if name in then or (no_part.get(name) is not True and value != default):
            inside = no_part.get(name, {})
            found[_NAMES_0.get(name, name)] = _plain(value, partial(_settings_of_0, no_part=inside))
    return found


def _plain(value: Any, of_model: Callable[[BaseModel], dict[str, Any]]) -> Any:
    """`value` as JSON has it, models in it as `of_model` says."""
    if isinstance(value, BaseModel):
        return of_model(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each, of_model) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, of_model) for each in value]
    return to_jsonable_python(value)


def content_hash(content: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of `content` as canonical JSON.

    >>> content_hash({"a": 1, "b": 2.0}) == content_hash({"b": 2.0, "a": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
