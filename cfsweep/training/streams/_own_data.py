"""Check a user's own arrays, and make a stream of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few, first_line
from cfsweep.training.streams._assemble import (
    Draft,
    Examples,
    assemble,
    refuse_class_order,
    require_n_tasks,
    with_test,
)
from cfsweep.training.streams._base import Stream


@dataclass(frozen=True)
class OwnExamples:
    """Examples as the user gave them: `x` is (n, *input_shape), uint8 or float32; `ids` (n,) names each one's class."""

    x: Tensor
    ids: NDArray[np.uint64]


@dataclass(frozen=True)
class OwnTask:
    """A task as the user gave it; without `test`, a fixed, stratified fifth of `train` is cut off as test data."""

    name: str
    train: OwnExamples
    test: OwnExamples | None

    @property
    def parts(self) -> list[OwnExamples]:
        return [self.train] if self.test is None else [self.train, self.test]


def checked_examples(x: Any, y: Any, where: str) -> OwnExamples:
    """Two arrays as examples: uint8 stays uint8, all other numbers become float32; labels (n,) or (n, 1).

    Raises:
        InputError: they are not numbers, not finite, of different lengths, empty, or the labels are no whole numbers
            from 0 up.
    """
    values, labels = _array(x, f"{where}, x"), _array(y, f"{where}, y")
    if values.ndim < 2:
        raise InputError(f"{where}: x must have the shape (n, features ...), but has {values.shape}. Add a dimension.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) != len(values) or not len(labels):
        raise InputError(
            f"{where}: x and y must hold the same number (1 or more) of examples, y in one dimension, but their shapes "
            f"are {values.shape} and {labels.shape}. Give one label per example."
        )
    if labels.dtype.kind not in "iu" or int(labels.min()) < 0:
        bad = labels.dtype if labels.dtype.kind not in "iu" else labels.min()
        raise InputError(f"{where}: labels must be whole numbers >= 0, of an integer type, but got {bad}. Convert y.")
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what overflows float32 is reported below, with its place
            values = values.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            place = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise InputError(
                f"{where}: x must be finite in float32, but x{list(place)} is {values[place]}. Fill or drop it."
            )
    return OwnExamples(_tensor(values), labels.astype(np.uint64))


def own_stream(config: StreamConfig, given: Sequence[OwnTask], files: dict[str, str]) -> Stream:
    """The stream of the user's tasks, in their order.

    Labels name classes over the whole stream: tasks that use the same label share that class and its output. Classes
    are numbered from 0 up in the order of their labels.

    Raises:
        InputError: shapes or types differ between tasks, a test label never occurs in its task's training data, a
            class has too few examples, or `class_order` or `n_tasks` contradicts the tasks.
    """
    refuse_class_order(config, "the tasks name their own classes")
    require_n_tasks(config, len(given))
    ids = np.unique(np.concatenate([part.ids for task in given for part in task.parts]))
    store: list[Examples] = []
    drafts: list[Draft] = []
    start = 0
    for task in given:
        where = f"stream `{config.name}`, task `{task.name}`"
        parts = [Examples(part.x, torch.from_numpy(np.searchsorted(ids, part.ids))) for part in task.parts]
        train, test = parts if len(parts) == 2 else with_test(parts[0], where)
        classes = tuple(sorted(set(parts[0].y.tolist())))
        stray = sorted(set(test.y.tolist()) - set(classes))
        if stray:
            raise InputError(
                f"{where}: test labels must occur in the task's training data, but {few(ids[stray])} do not. "
                f"Its training classes are {few(ids[list(classes)])}."
            )
        for part in (train, test):
            _require_like(part.x, (store or [train])[0].x, where)
            store.append(part)
        middle, end = start + len(train.y), start + len(train.y) + len(test.y)
        drafts.append(Draft(task.name, classes, np.arange(start, middle), np.arange(middle, end)))
        start = end
    x, y = torch.cat([part.x for part in store]), torch.cat([part.y for part in store])
    numbered = np.array_equal(ids, np.arange(len(ids)))
    return replace(assemble(config, x, y, drafts, files), class_ids=() if numbered else tuple(ids.tolist()))


def digest(given: Sequence[OwnTask]) -> str:
    """SHA-256 over all arrays: tells whether data that came from code is still the same."""
    total = hashlib.sha256()
    for part in (part for task in given for part in task.parts):
        fits = int(part.ids.max()) < 2**63
        for array in (part.x.numpy(), part.ids.astype(np.int64) if fits else part.ids):
            total.update(f"torch.{array.dtype}{array.shape}".encode())
            total.update(array.data)
    return total.hexdigest()


def _array(given: Any, where: str) -> np.ndarray[Any, Any]:
    try:
        if isinstance(given, list) and given and all(isinstance(one, Tensor) for one in given):
            given = torch.stack(given)
        array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    except Exception as error:  # ragged lists, sparse tensors, objects with a broken __array__
        raise InputError(f"{where}: it must be a tensor or an array ({first_line(error)}). Convert it.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where}: it must hold real numbers, but its type is {array.dtype}. Convert it.")
    return array


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    # a copy: the user's array may be read-only, strided, or changed by the user later
    return torch.from_numpy(np.array(array, order="C"))


def _require_like(x: Tensor, first: Tensor, where: str) -> None:
    if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
        raise InputError(
            f"{where}: all examples of a stream must have one shape and type, but these have {tuple(x.shape[1:])} "
            f"{_type_name(x)} where the first have {tuple(first.shape[1:])} {_type_name(first)}. Make them equal."
        )


def _type_name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
