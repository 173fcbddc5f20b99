"""The ingredients by name, and the hyperparameters that a set of them brings."""

from __future__ import annotations

from collections.abc import Iterable

from cfsweep.errors import InputError, unknown
from cfsweep.hypers import BASE_HYPERS, Hyper
from cfsweep.training.ingredients._base import Context, Ingredient, Memory, Sample, State, Values
from cfsweep.training.ingredients.ewc import EWC
from cfsweep.training.ingredients.packnet import PackNet
from cfsweep.training.ingredients.replay import Replay

registry: dict[str, type[Ingredient]] = {kind.name: kind for kind in (EWC, Replay, PackNet)}

__all__ = ["Context", "Ingredient", "Memory", "Sample", "State", "Values", "hypers_of", "registry"]


def hypers_of(names: Iterable[str], where: str = "ingredients") -> dict[str, Hyper]:
    """The hyperparameters of a trial that carries these ingredients, by name: the base ones first.

    Raises:
        InputError: an unknown name, or one given twice.
    """
    hypers = {hyper.name: hyper for hyper in BASE_HYPERS}
    listed = list(names)
    for name in listed:
        if name not in registry:
            raise unknown(where, "ingredient", name, registry)
        if listed.count(name) > 1:
            raise InputError(f"{where}: each ingredient appears once, but `{name}` is listed twice. Remove one.")
        hypers.update({hyper.name: hyper for hyper in registry[name].hypers})
    return hypers
