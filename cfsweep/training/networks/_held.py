"""Weights that no task moves, from the first step on (`network.freeze`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Self, SupportsIndex

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from cfsweep.errors import InputError, few


def hold(module: nn.Module, patterns: Sequence[str]) -> None:
    """Has the parameters whose names match one of `patterns` (`*` is any text, dots too) never move: they are no part
    of what is trained. A norm all of whose parameters are held, or whose statistics' names match, keeps these too, and
    computes with them in training as it does in evaluation.

    Raises:
        InputError: a pattern matches nothing, or nothing is left to train.

    >>> network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    >>> hold(network, ["0.*", "1.*"])
    >>> [name for name, p in network.named_parameters() if p.requires_grad]
    ['2.weight', '2.bias']
    >>> network.train()[1].training
    False
    """
    if not patterns:
        return
    parameters = dict(module.named_parameters(remove_duplicate=False))
    norms = {name: part for name, part in module.named_modules() if isinstance(part, _NormBase)}
    statistics = [f"{name}.{own}" for name, part in norms.items() for own, _ in part.named_buffers()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in (*parameters, *statistics)):
            raise InputError(
                f"network.freeze: each pattern must match the name of a parameter, but `{pattern}` matches none. "
                f"There are {few(parameters)}."
            )
    held = {name for name in parameters if any(fnmatchcase(name, pattern) for pattern in patterns)}
    for name in held:
        parameters[name].requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise InputError(
            f"network.freeze: something must be left to train, but {few(f'`{p}`' for p in patterns)} hold every "
            "parameter, those of the output layer too. Leave these out."
        )
    for name, part in norms.items():
        own = [f"{name}.{weight}" for weight, _ in part.named_parameters()]
        kept = any(fnmatchcase(f"{name}.{buffer}", p) for buffer, _ in part.named_buffers() for p in patterns)
        if kept or (own and held.issuperset(own)):
            _keep_statistics(part)


class _Held(nn.Module):
    """A layer that is always as in evaluation; it can be copied and pickled as any other."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _new, (type(self).__mro__[2],), self.__dict__


def _held_kind(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Held{kind.__name__}", (_Held, kind), {})


def _new(kind: type[nn.Module]) -> nn.Module:
    held = _held_kind(kind)
    return held.__new__(held)


def _keep_statistics(norm: nn.Module) -> None:
    """Has `norm` ignore from now on that its network trains. It stays the layer that it is."""
    norm.__class__ = _held_kind(type(norm))
    norm.eval()
