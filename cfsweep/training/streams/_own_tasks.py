"""A user's own tasks, in memory or read again when they are needed, and how they become the examples of a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import _float32
from cfsweep.training.streams._assemble import standardised_by
from cfsweep.training.streams._base import Indices
from cfsweep.training.streams._cache import cached_array, mapped
from cfsweep.training.streams._labels import Labels
from cfsweep.visible import tell

_FORMAT = 1  # of how examples come from tasks; another one has other names


@dataclass(frozen=True)
class OwnExamples:
    """Examples as the user gave them: `x` is (n, *input_shape), uint8 or float32, or float64 where float32 rounds it
    too much; `ids` (n,) names each one's class, or, (n, k) float64, are the amounts to be learned; `features` the
    columns of x, where they have names."""

    x: Tensor
    ids: Labels
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnTask:
    """A task as the user gave it; without `test`, a fixed, stratified fifth of `train` is cut off as test data.

    Where the data are large, its x have shapes and types alone (they lie on torch's device `meta`), and `again` reads
    the task."""

    name: str
    train: OwnExamples
    test: OwnExamples | None
    again: Callable[[], OwnTask] | None = None

    @property
    def parts(self) -> list[OwnExamples]:
        return [self.train] if self.test is None else [self.train, self.test]

    @property
    def n_bytes(self) -> int:
        """Of its examples in a stream."""
        return sum(part.x.numel() * (1 if part.x.dtype == torch.uint8 else 4) for part in self.parts)

    def with_x(self, change: Callable[[Tensor], Tensor]) -> OwnTask:
        train, *test = (replace(part, x=change(part.x)) for part in self.parts)
        return replace(self, train=train, test=test[0] if test else None)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The x of its parts."""
        whole = self if self.again is None else self.again()
        yield from (part.x.numpy() for part in whole.parts)


def examples_of(
    given: Sequence[OwnTask],
    places: Sequence[tuple[Indices, Indices]],
    move: _float32.Move,
    files: Mapping[str, str],
) -> tuple[Tensor, str]:
    """The examples (n, *input_shape), uint8 or float32, as `Drafted.places` has them, and the file that they are mapped
    from, empty where they are in memory."""
    first = given[0].train.x
    shape = (sum(len(part) for of_task in places for part in of_task), *first.shape[1:])
    dtype: type = np.uint8 if first.dtype == torch.uint8 else np.float32

    def fill(into: NDArray[Any]) -> None:
        start = 0
        for task, (train, test) in zip(given, places, strict=True):
            arrays = list(task.arrays())
            for array, own in ((arrays[0], train), (arrays[-1], test)):
                into[start : start + len(own)] = move.narrow(array[own])
                start += len(own)

    if all(task.again is None for task in given):
        found = np.empty(shape, dtype)
        fill(found)
        return torch.from_numpy(found), ""
    key = hashlib.sha256(json.dumps([_FORMAT, list(files.items()), shape]).encode())
    for part in (part for of_task in places for part in of_task):
        key.update(np.ascontiguousarray(part).data)

    def write(into: NDArray[Any]) -> None:
        tell(f"the examples of the tasks, {into.nbytes / 2**30:.3g} GiB, are written into the cache once, and mapped")
        fill(into)

    path, _ = cached_array("tasks", key.hexdigest()[:32], shape, dtype, write)
    return mapped(path), str(path)


def in_float32(config: StreamConfig, given: Sequence[OwnTask]) -> tuple[_float32.Move, dict[str, str]]:
    """How the tasks become float32, and the SHA-256 of what that is where it is not the plain cast: then columns that
    this would round too much are standardised before, by what may be seen of the first task.

    Raises:
        InputError: they are not to be standardised, or float32 cannot hold them even so.
    """
    wide = any(part.x.dtype == torch.float64 for task in given for part in task.parts)
    if config.encoder is not None or not wide:  # an encoder sees examples as they are, and makes float32 of them
        return _float32.Move(), {}
    by = standardised_by(config, given[0].train.x.dim())
    move = _float32.move_of(_arrays(given), by)
    for k, left in enumerate(_float32.coarse(map(move.wide, _arrays(given)), by, _float32.REFUSED)):
        if left.any():
            raise _too_coarse(config, given, k, tuple(np.argwhere(left)[0].tolist()), by)
    if move.by is None:
        return move, {}
    return move, {"columns standardised in float64": _float32.sha256_of(map(move.narrow, _arrays(given)))}


def _arrays(given: Sequence[OwnTask]) -> Iterator[NDArray[Any]]:
    return (array for task in given for array in task.arrays())


def _too_coarse(
    config: StreamConfig, given: Sequence[OwnTask], number: int, place: tuple[int, ...], by: str
) -> InputError:
    """The one line for the column at `place` of the part of that number."""
    task, part = [(task, part) for task in given for part in task.parts][number]
    column = f"column `{part.features[place[0]]}`" if part.features else f"x[:, {', '.join(map(str, place))}]"
    x = next(islice(_arrays(given), number, None))
    values = np.moveaxis(x, 0, -1)[place]
    remedy = "Set `stream.standardise=feature`." if by == "none" else "Subtract an offset from it, or drop it."
    return InputError(
        f"{where_of(config, task)}: float32, in which networks compute, is too coarse for {column}, whose values lie "
        f"between {values.min():.15g} and {values.max():.15g}, and standardise={by} does not bring them near 0. "
        f"{remedy}"
    )


def where_of(config: StreamConfig, task: OwnTask) -> str:
    """How a task is named in what is said."""
    return f"stream `{config.name}`, task `{task.name}`"
