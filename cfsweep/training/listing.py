"""What there is to choose from, built in and installed, with a line about each."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import cast

from cfsweep.errors import InputError
from cfsweep.hypers import shown
from cfsweep.training import ingredients, networks, streams, targets
from cfsweep.training.plugins import Group, current_folder_importable, imported, installed

Lines = list[tuple[str, str]]
TORCHVISION = ("torchvision:NAME", "any of torchvision that ends in a linear layer, such as resnet18; its own args")


def listed(group: str) -> Lines:
    """(name, one line) of each of `group`: what is built in, then what installed packages bring. That of an ingredient
    has its hyperparameters with their defaults.

    An entry point that cannot be imported is listed with the reason; the others are listed all the same.
    """
    known = cast(Group, group)
    built_in: dict[Group, Callable[[], Lines]] = {
        "ingredients": lambda: [(name, _about(kind)) for name, kind in ingredients.registry.items()],
        "streams": lambda: [(name, entry.doc) for name, entry in streams.registry.items()],
        "networks": lambda: [*((name, entry.doc) for name, entry in networks.registry.items()), TORCHVISION],
        "targets": lambda: [(name, kind.summary) for name, kind in targets.registry.items()],
    }
    lines = built_in[known]()
    taken = {name for name, _ in lines}
    return [*lines, *((name, _of_entry_point(known, name, path, taken)) for name, path in installed(known).items())]


def _of_entry_point(group: Group, name: str, path: str, taken: AbstractSet[str]) -> str:
    if name in taken:
        return f"cannot be used: `{name}` is built in. Give the entry point {path} another name."
    try:
        if group == "ingredients":
            return _about(ingredients.ingredient_class(name))
        with current_folder_importable():
            return f"{_first_line(imported(path, f'{group} `{name}`'))} ({path})"
    except InputError as error:
        return f"cannot be used: {error}"


def _about(kind: type[ingredients.Ingredient]) -> str:
    reads = "".join(f"; {read.what}" for read in ingredients.reads_of(kind))
    defaults = ", ".join(f"{hyper.name}={shown(hyper.default)}" for hyper in kind.hypers)
    return f"{kind.summary}; {defaults}{reads}"


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
