"""The hyperparameters of an ingredient, for one model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.ingredients import Ingredient

Given = Mapping[str, tuple[str, Value]]
"""By the name of an argument, the hyperparameter that it is, and its value."""


def checked_values(kind: type[Ingredient], where: str, given: Given) -> dict[str, Value]:
    """All hyperparameters of `kind` by name: those `given`, the others at their defaults.

    Raises:
        InputError: a value is not legal.

    >>> from cfsweep.training.ingredients.l2_sp import L2SP
    >>> checked_values(L2SP, "L2SPPenalty", {"strength": ("l2_sp_lambda", 2)})
    {'l2_sp_lambda': 2.0}
    """
    values = {hyper.name: hyper.default for hyper in kind.hypers}
    hypers = {hyper.name: hyper for hyper in kind.hypers}
    for argument, (name, value) in given.items():
        values[name] = hypers[name].check(value, f"{where}: `{argument}`")
    return values


def static_of(kind: type[Ingredient], values: Mapping[str, Value]) -> dict[str, Value]:
    """Those that an ingredient gets when it is made, of its own."""
    return {hyper.name: values[hyper.name] for hyper in kind.hypers if hyper.static}


def numbers_of(kind: type[Ingredient], values: Mapping[str, Value], device: torch.device) -> dict[str, Tensor]:
    """The numeric ones as an ingredient gets them: scalar float32 tensors, on `device`."""
    named = ((hyper.name, values[hyper.name]) for hyper in kind.hypers if not hyper.static)
    return {name: torch.tensor(float(value), device=device) for name, value in named}


def checked_seed(seed: int, where: str) -> int:
    """`seed`, from which random numbers can be derived.

    Raises:
        InputError: it is no whole number from 0 on.
    """
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"{where}: `seed` must be a whole number from 0 on, but got seed={seed!r}. The default is 0.")
    return seed
