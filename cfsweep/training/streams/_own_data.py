"""Check a user's own arrays, and make a stream of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line
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
class OwnTask:
    """A task as the user gave it; without `test`, a fixed, stratified fifth of `train` is cut off as test data."""

    name: str
    train: Examples
    test: Examples | None


def checked_examples(x: Any, y: Any, where: str) -> Examples:
    """Two arrays as examples: uint8 stays uint8, all other numbers become float32; labels become int64.

    Raises:
        InputError: they are not numbers, not finite, of different lengths, empty, or the labels are no whole numbers
            from 0 up.
    """
    values, labels = _array(x, f"{where}, x"), _array(y, f"{where}, y")
    if values.ndim < 2:
        raise InputError(f"{where}: x must have the shape (n, features ...), but has {values.shape}. Add a dimension.")
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
    return Examples(_tensor(values), _tensor(labels.astype(np.int64)))


def own_stream(config: StreamConfig, given: Sequence[OwnTask], files: dict[str, str]) -> Stream:
    """The stream of the user's tasks, in their order.

    Labels are class numbers over the whole stream: tasks that use the same number share that class and its output.

    Raises:
        InputError: shapes or types differ between tasks, a test label never occurs in its task's training data, a
            class has too few examples, or `class_order` or `n_tasks` contradicts the tasks.
    """
    refuse_class_order(config, "the tasks name their own classes")
    require_n_tasks(config, len(given))
    store: list[Examples] = []
    drafts: list[Draft] = []
    start = 0
    for task in given:
        where = f"stream `{config.name}`, task `{task.name}`"
        train, test = (task.train, task.test) if task.test else with_test(task.train, where)
        classes = tuple(sorted(set(task.train.y.tolist())))
        stray = sorted(set(test.y.tolist()) - set(classes))
        if stray:
            raise InputError(
                f"{where}: test labels must occur in the task's training data, but {stray} do not. "
                f"Its training classes are {list(classes)}."
            )
        for part in (train, test):
            _require_like(part.x, (store or [train])[0].x, where)
            store.append(part)
        middle, end = start + len(train.y), start + len(train.y) + len(test.y)
        drafts.append(Draft(task.name, classes, np.arange(start, middle), np.arange(middle, end)))
        start = end
    x, y = torch.cat([part.x for part in store]), torch.cat([part.y for part in store])
    return assemble(config, x, y, drafts, files)


def digest(parts: Sequence[OwnTask]) -> str:
    """SHA-256 over all arrays: tells whether data that came from code is still the same."""
    total = hashlib.sha256()
    for task in parts:
        for part in (task.train, task.test):
            for tensor in (part.x, part.y) if part else ():
                total.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                total.update(tensor.numpy().data)
    return total.hexdigest()


def _array(given: Any, where: str) -> np.ndarray[Any, Any]:
    try:
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
