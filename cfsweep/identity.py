"""Which studies are the same: a hash of what a study says beyond the defaults, which survives new settings.

A study keeps the identity version that it began with. A new setting whose default means what was before needs nothing
here: studies that do not use it hash as they did. Where a default is changed, `VERSION` goes up, and the default that
the earlier versions had goes into `EARLIER_DEFAULTS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

VERSION = 1  # of studies that begin now; those of version 0 have all their settings in their hash

# By version, model and field, the defaults that are others today.
EARLIER_DEFAULTS: dict[int, dict[tuple[str, str], Any]] = {1: {}}

# What version 0 hashed, by the names that it had.
_FIELDS_0: dict[str, tuple[str, ...]] = {
    "space": ("description", "scenario", "network", "ingredients", "fixed", "search"),
    "stream": ("name", "scenario", "class_order", "n_tasks", "validation_frac", "split_seed", "args"),
    "objective": ("name", "old_weight", "third"),
}
_NAMES_0 = {
    "seeds": "seeds",
    "sampler_seed": "sampler_seed",
    "stop_trials": "early_stopping",
    "references": "references",
    "curve_points_per_task": "curve_points_per_task",
}


def study_id(config: BaseModel, version: int, no_part: Mapping[str, Any]) -> str:
    """12 hexadecimal digits; equal for studies that differ in `no_part` alone, given as for `model_dump(exclude=)`."""
    if version == 0:
        return content_hash(_all_settings(config))
    return content_hash(differing(config, version, no_part))


def differing(model: BaseModel, version: int, no_part: Mapping[str, Any]) -> dict[str, Any]:
    """What `model` says beyond the defaults of an identity version, as plain containers."""
    earlier, found = EARLIER_DEFAULTS[version], {}
    for name, field in type(model).model_fields.items():
        left_out, value = no_part.get(name, {}), getattr(model, name)
        default = earlier.get((type(model).__name__, name), field.get_default(call_default_factory=True))
        if left_out is not True and value != default:
            found[name] = _plain(value, version, left_out)
    return found


def _plain(value: Any, version: int, no_part: Mapping[str, Any]) -> Any:
    if isinstance(value, BaseModel):
        return differing(value, version, no_part)
    if isinstance(value, Mapping):
        return {key: _plain(each, version, {}) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, version, {}) for each in value]
    return value


def _all_settings(config: BaseModel) -> dict[str, Any]:
    content = config.model_dump(mode="json")
    settings = {name: {field: content[name][field] for field in fields} for name, fields in _FIELDS_0.items()}
    plain = {then: content[now] for now, then in _NAMES_0.items()}
    return {**settings, **plain, "pack_runs": 8}  # it had a part once: ids with what was the default stay


def content_hash(content: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of `content` as canonical JSON.

    >>> content_hash({"a": 1, "b": 2.0}) == content_hash({"b": 2.0, "a": 1})
    True
    """
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
