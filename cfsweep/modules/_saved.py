"""Modules whose `state_dict` holds tensors by the names of the parameters that they belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cfsweep.errors import InputError, few


class Saved(nn.Module):
    """A module without parameters, whose state is what `contents` gives. torch's buffers would not do: their names have
    no dots, and their shapes cannot change from task to task.

    The state lies on the device where it came to be; whoever uses it moves it to the model's.
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
