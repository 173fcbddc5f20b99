"""Modules whose `state_dict` holds tensors by the names of the parameters that they belong to, and which go on from a
bundle."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cfsweep.bundle.continued import Opened
from cfsweep.bundle.places import fetched
from cfsweep.errors import InputError, few
from cfsweep.hypers import Value
from cfsweep.modules._kept import Remedy, opened_for
from cfsweep.modules._values import Given, checked_values
from cfsweep.training.ingredients import Ingredient


class Saved(nn.Module):
    """A module without parameters, whose state is what `contents` gives. torch's buffers would not do: their names have
    no dots, and their shapes cannot change from task to task.

    The state lies on the device where it came to be; whoever uses it moves it to the model's. `kind` is the ingredient
    that it is, `given` are the hyperparameters of that by the names of its own arguments.

    Raises:
        InputError: a value is not legal.
    """

    kind: ClassVar[type[Ingredient]]

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.where = type(self).__name__
        self.values: dict[str, Value] = checked_values(self.kind, self.where, given)
        self.arguments = {argument: name for argument, (name, _) in given.items()}

    @property
    def remedy(self) -> Remedy:
        """What it is to a bundle."""
        return Remedy(self.kind, self.where, self.values, self.arguments)

    def load_bundle(self, folder: str | Path) -> None:
        """Goes on from what the bundle in `folder` has kept for its next task.

        The model must be as the bundle's network, with the weights of that: `open_bundle(...).network`, which may have
        more outputs, or `cfsweep.load(folder).network()`. Arguments that are choices must be as in the bundle; numbers
        may be others, as with `cfsweep continue --set`.

        Raises:
            InputError: there is no bundle, it was trained without this remedy or with other choices, it lacks what the
                remedy has kept, or its network is another one.
        """
        with fetched(folder) as here:
            self.take_kept(opened_for(self.remedy, here))

    @abstractmethod
    def take_kept(self, start: Opened) -> None:
        """Takes what the bundle has kept.

        Raises:
            InputError: it does not fit.
        """

    @abstractmethod
    def contents(self) -> dict[str, Tensor]:
        """All that has to be saved, by name."""

    @abstractmethod
    def take(self, contents: Mapping[str, Tensor]) -> None:
        """Goes on from what `contents` gave, which has all its names.

        Raises:
            InputError: it does not fit.
        """

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination |= {prefix + name: value.detach() for name, value in self.contents().items()}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: object, **__: object) -> None:
        self.take({k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)})


def require_fit(where: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`given` as copies on the devices of those `expected`, whose names, shapes and types it has.

    Raises:
        InputError: it has others.
    """
    others = sorted(given.keys() ^ expected.keys())
    if others:
        raise InputError(
            f"{where}: a saved state must have the names of this one, but they differ in {few(others)}. Load one that "
            "was saved of the same kind of module and the same model."
        )
    for name, value in expected.items():
        mine, theirs = (value.dtype, tuple(value.shape)), (given[name].dtype, tuple(given[name].shape))
        if mine != theirs:
            raise InputError(
                f"{where}: `{name}` must be {mine[0]} of shape {mine[1]}, but the saved one is {theirs[0]} of shape "
                f"{theirs[1]}. Load one that was saved of the same model."
            )
    return {name: given[name].detach().clone().to(value.device) for name, value in expected.items()}


def counted(n: int) -> Tensor:
    """`n` as a tensor that a `state_dict` can hold."""
    return torch.tensor(n, dtype=torch.int64)
