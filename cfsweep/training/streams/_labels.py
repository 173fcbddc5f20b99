"""The user's labels of classes, whole numbers or words, and the tasks that are made of labelled examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, few
from cfsweep.training.streams._assemble import TEST_SEED, TEST_SHARE, Draft, strata, stratified_cut
from cfsweep.training.streams._base import OF_AMOUNTS, ClassId, Indices
from cfsweep.training.streams._latest import latest_cut

Labels = NDArray[np.uint64] | NDArray[np.str_] | NDArray[np.float64]  # (n,) of classes, or amounts (n, k)


@dataclass(frozen=True)
class Labelled:
    """The labels of a task's examples; without `test` a share of `train` becomes test data."""

    name: str
    train: Labels
    test: Labels | None


@dataclass(frozen=True)
class Drafted:
    """Tasks over one store, in which those to train on come before those to test, task by task.

    `places` has for each task where its examples of the two kinds lie among those that were given: of both among those
    to train on where none were given to test. `y` are the classes' numbers in the store, or the amounts; `class_ids`
    what the user calls the classes, empty where that is the same.
    """

    y: Tensor
    drafts: list[Draft]
    places: list[tuple[Indices, Indices]]
    class_ids: tuple[ClassId, ...]


def checked_labels(labels: NDArray[Any], where: str) -> Labels:
    """Labels (n,) as whole numbers from 0 up or as words.

    Raises:
        InputError: they are neither.
    """
    if labels.dtype.kind in "OU" and all(isinstance(label, str) for label in labels.tolist()):
        return labels.astype(np.str_)
    if labels.dtype.kind not in "iu" or int(labels.min()) < 0:
        bad = labels.dtype if labels.dtype.kind not in "iu" else labels.min()
        raise InputError(f"{where}: labels must be whole numbers >= 0, of an integer type, but got {bad}. Convert y.")
    return labels.astype(np.uint64)


def drafted(config: StreamConfig, tasks: Sequence[Labelled]) -> Drafted:
    """The tasks with their classes, numbered from 0 up in the order of their labels over the whole stream.

    Where no task names test data, a fifth of each becomes some: a fixed, stratified one, or with `validation=latest`
    what came last.

    Raises:
        InputError: some tasks have test data and others none, or words as labels and others numbers; a test label never
            occurs in its task's training data; or there are too few examples.
    """
    _require_test_data(config, tasks)
    has_classes = config.target not in OF_AMOUNTS
    ids = _all_ids(config, tasks) if has_classes else np.empty(0, np.uint64)
    class_ids: tuple[ClassId, ...] = () if np.array_equal(ids, np.arange(len(ids))) else tuple(ids.tolist())
    drafts, places, numbers, start = [], [], [], 0
    for task in tasks:
        where = f"stream `{config.name}`, task `{task.name}`"
        train: Any = np.searchsorted(ids, task.train) if has_classes else task.train
        test: Any = np.searchsorted(ids, task.test) if has_classes and task.test is not None else task.test
        classes = tuple(sorted(set(train.tolist()))) if has_classes else ()
        if test is None:
            parts, test = test_cut(config, strata(torch.from_numpy(train)), f"{where}, test share", class_ids), train
        else:
            _refuse_stray(ids, classes, test.tolist() if has_classes else (), where)
            parts = np.arange(len(train)), np.arange(len(test))
        numbers += [train[parts[0]], test[parts[1]]]
        middle, end = start + len(parts[0]), start + len(parts[0]) + len(parts[1])
        drafts.append(Draft(task.name, classes, np.arange(start, middle), np.arange(middle, end)))
        places.append(parts)
        start = end
    return Drafted(torch.from_numpy(np.concatenate(numbers)), drafts, places, class_ids)


def test_cut(
    config: StreamConfig, labels: Indices, where: str, class_ids: Sequence[ClassId]
) -> tuple[Indices, Indices]:
    """(kept, cut) positions of a task's examples."""
    if config.validation == "latest":
        kept, cut = latest_cut(len(labels), (TEST_SHARE,), where)
    else:
        kept, cut = stratified_cut(labels, (TEST_SHARE,), TEST_SEED, where, class_ids=class_ids)
    return kept, cut


def _all_ids(config: StreamConfig, tasks: Sequence[Labelled]) -> Labels:
    """All labels, each once, in their order."""
    parts = [(task, part) for task in tasks for part in (task.train, task.test) if part is not None]
    named = {part.dtype.kind == "U": task.name for task, part in parts}
    if len(named) > 1:
        raise InputError(
            f"stream `{config.name}`: labels must be words in all tasks or whole numbers in all, but those of "
            f"`{named[True]}` are words, and those of `{named[False]}` numbers. Write them alike."
        )
    return np.unique(np.concatenate([np.unique(part) for _, part in parts]))


def _refuse_stray(ids: Labels, classes: tuple[int, ...], test: Sequence[int], where: str) -> None:
    stray = sorted(set(test) - set(classes))
    if stray:
        raise InputError(
            f"{where}: test labels must occur in the task's training data, but {few(ids[stray])} do not. "
            f"Its training classes are {few(ids[list(classes)])}."
        )


def _require_test_data(config: StreamConfig, tasks: Sequence[Labelled]) -> None:
    with_some = [f"`{task.name}`" for task in tasks if task.test is not None]
    without = [f"`{task.name}`" for task in tasks if task.test is None]
    if with_some and without:
        raise InputError(
            f"stream `{config.name}`: all tasks must have test data or none, but {few(without)} lack what "
            f"{few(with_some)} have. Give them some (a column `split`; `x_test` and `y_test`; `test`)."
        )
