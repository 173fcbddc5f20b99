"""What acts on numbers and is said by no study: the constants of the code that it is trained by."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from cfsweep.config import Space
from cfsweep.training import networks
from cfsweep.training.engine import optimizers
from cfsweep.training.ingredients import registry

_INGREDIENTS = registry["ewc"].__module__.rpartition(".")[0]


def defaults_of(space: Space) -> dict[str, Any]:
    """By name: the arguments of the built-in network that the space leaves out, and the constants of the update rules
    and of its built-in ingredients, as YAML has them. (The settings are beside them, as `hypers`.)

    >>> defaults_of(Space(ingredients=("ewc",)))
    {'network.args.hidden': [256, 256], 'BETA1': 0.9, 'BETA2': 0.999, 'EPS': 1e-08}
    """
    if space.trainer is not None:
        return {}
    entry = networks.registry.get(space.network.name)
    args = {} if entry is None else {f"network.args.{name}": value for name, value in entry.args.items()}
    found = {name: value for name, value in args.items() if name.rpartition(".")[2] not in space.network.args}
    found |= {name: getattr(optimizers, name) for name in ("BETA1", "BETA2", "EPS")}
    for name in space.ingredients:
        if name in registry:
            for module in sorted(set(_modules(registry[name].__module__))):
                found |= {f"{module.rpartition('.')[2]}.{key}": value for key, value in _constants(module)}
    return {name: _plain(value) for name, value in found.items()}


def _modules(name: str) -> Iterator[str]:
    """The module of an ingredient, and those beside it that it takes something from and that are no ingredient's."""
    yield name
    for value in vars(sys.modules[name]).values():
        module = getattr(value, "__module__", None)
        if isinstance(module, str) and module.startswith(f"{_INGREDIENTS}._"):
            yield module


def _constants(name: str) -> Iterator[tuple[str, Any]]:
    for key, value in vars(sys.modules[name]).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if key.isupper() and numbers and all(type(number) in (int, float) for number in numbers):
            yield key, value


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
