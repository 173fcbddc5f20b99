"""What a bundle has kept for a module, as the model of a loop of one's own takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cfsweep.bundle.cold import needed
from cfsweep.bundle.continued import Opened, opened
from cfsweep.bundle.grown import Grown, has_more_rows
from cfsweep.bundle.manifest import STATE
from cfsweep.bundle.model import network_of
from cfsweep.errors import InputError, few
from cfsweep.hypers import Value
from cfsweep.modules._model import OneModel
from cfsweep.training.engine.layout import tensors_of
from cfsweep.training.ingredients import Ingredient, State, ingredient_class


class Remedy(NamedTuple):
    """A module as an ingredient of this `kind`: its hyperparameters, and by the names of its arguments which of these
    they are; `where` begins the error messages."""

    kind: type[Ingredient]
    where: str
    values: Mapping[str, Value]
    arguments: Mapping[str, str]


def opened_for(remedy: Remedy, folder: Path) -> Opened:
    """The bundle in `folder`, which has kept something for the remedy. Choices, which say what that means, must be as
    in the bundle; numbers may be others.

    Raises:
        InputError: there is no bundle, it was not trained with the remedy or with other choices, or lacks what it kept.
    """
    kind, where, start = remedy.kind, remedy.where, opened(folder)
    settings = start.about.settings
    on = [each for each in map(ingredient_class, start.about.ingredients) if not each.is_off(settings)]
    if kind not in on:
        others = few(each.name for each in on) or "no remedy"
        raise InputError(
            f"{where}: the bundle must have been trained with `{kind.name}`, but {folder} was with {others}. Give "
            "another bundle, or begin without."
        )
    if start.about.target != "classification":
        raise InputError(f"{where}: the target must be classification, but {folder} has {start.about.target}.")
    choices = {hyper.name for hyper in kind.hypers if hyper.kind == "choice"}
    for argument, name in remedy.arguments.items():
        if name in choices:
            require_same(where, argument, remedy.values[name], settings[name], folder)
    if not start.state and (lacking := needed(kind)) is not None:
        raise InputError(f"{where}: {folder} has no {STATE}, and so not {lacking}. Bring the file back.")
    return start


def require_same(where: str, argument: str, given: object, kept: object, folder: Path) -> None:
    """
    Raises:
        InputError: what was given for an argument is not what the bundle in `folder` has kept its state with.
    """
    if given != kept:
        raise InputError(
            f"{where}: `{argument}={kept}` must hold, as in {folder}, but got {argument}={given}. Give the same."
        )


def known_network(one: OneModel, start: Opened) -> tuple[nn.Module, Grown]:
    """The bundle's network, and the way from its weights to those of the model, which may have more outputs.

    Raises:
        InputError: the model has not the parameters and statistics of that network.
    """
    about = start.about
    old = network_of(about, start.weights, str(start.bundle))
    if others := different(old, one.model, grows=True):
        raise InputError(
            f"{one.where}: the model must have the parameters and statistics of the network of {start.bundle}, but it "
            f"differs in {few(others)}. Take that of `open_bundle`, or `cfsweep.load(bundle).network()`."
        )
    return old, Grown(old, about.n_outputs, one.model, one.n_outputs, one.where)


def different(old: nn.Module, new: nn.Module, grows: bool) -> list[str]:
    """The names of the parameters and statistics in which two networks differ, by type, shape, or whether they are
    trained. With `grows` those that are trained may have more rows in `new`."""
    before, after = _kinds_of(old), _kinds_of(new)
    return sorted(
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and not (grows and _has_grown(before.get(name), after.get(name)))
    )


def state_in(remedy: Remedy, start: Opened, grown: Grown, begun: State) -> State:
    """The state of the remedy in the bundle, each entry a number for each weight; for those of new outputs as it has
    `begun`.

    Raises:
        InputError: it was kept by another version.
    """
    found: State = {}
    for name, fresh in begun.items():
        value = start.state.get(f"{remedy.kind.name}/state/{name}")
        if value is None or value.dtype != fresh.dtype or value.shape != (grown.old.size,):
            raise InputError(
                f"{remedy.where}: what {start.bundle} has kept as `{name}` is of another version. Export it again."
            )
        found[name] = grown.vector(value, fresh)
    return found


class _Kind(NamedTuple):
    dtype: torch.dtype
    is_trained: bool
    shape: tuple[int, ...]


def _kinds_of(module: nn.Module) -> dict[str, _Kind]:
    return {
        name: _Kind(value.dtype, value.requires_grad, tuple(value.shape)) for name, value in tensors_of(module).items()
    }


def _has_grown(first: _Kind | None, then: _Kind | None) -> bool:
    if first is None or then is None or not first.is_trained:
        return False
    return first[:2] == then[:2] and has_more_rows(first.shape, then.shape)
