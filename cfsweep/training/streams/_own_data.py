"""Check a user's own arrays, and make a stream of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line
from cfsweep.training.streams import _float32
from cfsweep.training.streams._assemble import TEST_SHARE, assemble, refuse_class_order, require_n_tasks
from cfsweep.training.streams._base import CLASSIFICATION, OF_AMOUNTS, Stream
from cfsweep.training.streams._columns import column_names, other_features
from cfsweep.training.streams._labels import Labelled, checked_labels, drafted
from cfsweep.training.streams._own_tasks import OwnExamples, OwnTask, examples_of, in_float32, where_of


def checked_examples(
    x: Any, y: Any, where: str, features: Sequence[str] = (), target: str = CLASSIFICATION
) -> OwnExamples:
    """Two arrays as examples: uint8 stays uint8, all other numbers become float32 (float64 where `_float32` finds that
    this loses too much); labels (n,) or (n, 1), or, for a `target` that learns amounts, (n, k) too. `features` are the
    names of x's columns; a table brings its own.

    Raises:
        InputError: they are not numbers, not finite, masked, of different lengths, empty, or the labels are no whole
            numbers from 0 up, nor words, where these are needed.
    """
    features = tuple(features) or column_names(x, f"{where}, x")
    values, labels = _array(x, f"{where}, x"), _array(y, f"{where}, y", words=target not in OF_AMOUNTS)
    if values.shape[:1] == labels.shape[:1] == (0,):
        raise InputError(f"{where}: a task needs examples, but there is none. Add some, or leave it out.")
    if values.ndim < 2:
        raise InputError(f"{where}: x must have the shape (n, features ...), but has {values.shape}. Add a dimension.")
    amounts = target in OF_AMOUNTS
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in ((1, 2) if amounts else (1,)) or len(labels) != len(values):
        dimensions = "one or two dimensions" if amounts else "one dimension"
        raise InputError(
            f"{where}: x and y must hold the same number of examples, y in {dimensions}, but their shapes are "
            f"{values.shape} and {labels.shape}. Give one label per example."
        )
    ids = _amounts(labels, where, target) if amounts else checked_labels(labels, where)
    if values.dtype != np.uint8:
        values = _floats(values, where, features)
    return OwnExamples(_tensor(values), ids, features)


def _amounts(labels: np.ndarray[Any, Any], where: str, target: str) -> NDArray[np.float64]:
    """Labels (n,) or (n, k) as (n, k)."""
    found = labels.astype(np.float64).reshape(len(labels), -1)
    if not np.isfinite(found).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise InputError(
            f"{where}: labels must be finite, but y[{row}, {column}] is {found[row, column]}. Fill or drop it."
        )
    if target == "multi-label" and not np.isin(found, (0.0, 1.0)).all():
        bad = found[~np.isin(found, (0.0, 1.0))][0]
        raise InputError(f"{where}: each of several labels is 0 or 1, but got {bad:g}. Convert y.")
    return found


def _floats(values: np.ndarray[Any, Any], where: str, features: Sequence[str]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):  # what overflows float32 is reported below, with its place
        narrow = values.astype(np.float32, copy=False)
    finite = np.isfinite(narrow)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        named = f"column `{features[place[1]]}` of example {place[0]} (from 0)" if features else f"x{list(place)}"
        raise InputError(f"{where}: x must be finite in float32, but {named} is {narrow[place]}. Fill or drop it.")
    return values.astype(np.float64) if _float32.extent(values).loses(_float32.TOLERATED).any() else narrow


def own_stream(
    config: StreamConfig, given: Sequence[OwnTask], files: dict[str, str], texts: Sequence[str] = ()
) -> Stream:
    """The stream of the user's tasks, in their order.

    Labels name classes over the whole stream: tasks that use the same label share that class and its output. Classes
    are numbered from 0 up in the order of their labels. Columns that have names go by them, in the first one's order.
    Where there are `texts`, every x (n, 1) has the numbers of some, for an encoder.

    Raises:
        InputError: shapes, types or names of columns differ between tasks, float32 cannot hold a column, some tasks
            have test data and others none, a test label never occurs in its task's training data, a class has too few
            examples, or `class_order` or `n_tasks` contradicts the tasks.
    """
    refuse_class_order(config, "the tasks name their own classes")
    require_n_tasks(config, len(given))
    given, features = _aligned(config, given)
    if config.target in OF_AMOUNTS:
        _require_one_width(config, given)
    tasks = [Labelled(task.name, task.train.ids, None if task.test is None else task.test.ids) for task in given]
    found = drafted(config, tasks)
    move, kept = in_float32(config, given)
    files = {**files, **kept}
    x, path = examples_of(given, found.places, move, files)
    return replace(
        assemble(config, x, found.y, found.drafts, files, found.class_ids, texts),
        features=() if config.encoder else features,
        test_share=0.0 if given[0].test else TEST_SHARE,
        mapped="" if config.encoder else path,
    )


def _require_one_width(config: StreamConfig, given: Sequence[OwnTask]) -> None:
    """Raise unless all examples have as many labels."""
    width = given[0].train.ids.shape[1]
    for task in given:
        for part in task.parts:
            if part.ids.shape[1] != width:
                raise InputError(
                    f"{where_of(config, task)}: all examples of a stream must have as many labels, {width} as the "
                    f"first ones, but these have {part.ids.shape[1]}. Make them equal."
                )


def _aligned(config: StreamConfig, given: Sequence[OwnTask]) -> tuple[list[OwnTask], tuple[str, ...]]:
    """The tasks with their named columns in one order, and the names in that order.

    Raises:
        InputError: names, shapes or types differ.
    """
    features = next((part.features for task in given for part in task.parts if part.features), ())
    first: Tensor | None = None
    found = []
    for task in given:
        where, parts = where_of(config, task), []
        for part in task.parts:
            parts.append(_by_name(part, features, where))
            first = parts[-1].x if first is None else first
            _require_like(parts[-1].x, first, where)
        found.append(replace(task, train=parts[0], test=parts[1] if len(parts) == 2 else None))
    return found, features


def _by_name(part: OwnExamples, features: Sequence[str], where: str) -> OwnExamples:
    if part.features in ((), features):
        return part
    if set(part.features) != set(features):
        raise other_features(where, features, part.features)
    places = [part.features.index(name) for name in features]
    return OwnExamples(part.x[:, places], part.ids, tuple(features))


def digest(given: Sequence[OwnTask]) -> str:
    """SHA-256 over all arrays: tells whether data that came from code is still the same."""
    total = hashlib.sha256()
    for part in (part for task in given for part in task.parts):
        fits = part.ids.dtype.kind == "u" and int(part.ids.max()) < 2**63
        x = part.x.numpy() if part.x.dtype == torch.uint8 else part.x.numpy().astype(np.float32, copy=False)
        for array in (x, part.ids.astype(np.int64) if fits else part.ids):
            total.update(f"torch.{array.dtype}{array.shape}".encode())
            total.update(np.ascontiguousarray(array).view(np.uint8).data)
    return total.hexdigest()


def _array(given: Any, where: str, words: bool = False) -> np.ndarray[Any, Any]:
    """`given` as an array of real numbers, or, if they may be `words`, of these."""
    _refuse_hidden(given, where)
    try:
        if isinstance(given, list) and given and all(isinstance(one, Tensor) for one in given):
            given = torch.stack(given)
        array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    except Exception as error:  # ragged lists, sparse tensors, objects with a broken __array__
        raise InputError(f"{where}: it must be a tensor or an array ({first_line(error)}). Convert it.") from error
    if words and array.dtype.kind in "OU" and array.size and all(isinstance(one, str) for one in array.flat):
        return array.astype(np.str_)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where}: it must hold real numbers, but its type is {array.dtype}. Convert it.")
    return array


def _refuse_hidden(given: Any, where: str) -> None:
    """NumPy's masks get lost on the way to a tensor, and what they hid would be trained on."""
    all_given = given if isinstance(given, list | tuple) else [given]
    hidden = sum(int(np.ma.getmaskarray(one).sum()) for one in all_given if np.ma.is_masked(one))
    if hidden:
        raise InputError(f"{where}: no value may be masked, but {hidden} are. Fill or drop them.")


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    # a copy: the user's array may be read-only, strided, or changed by the user later
    return torch.from_numpy(np.array(array, order="C"))


def _require_like(x: Tensor, first: Tensor, where: str) -> None:
    if x.shape[1:] != first.shape[1:] or _type_name(x) != _type_name(first):
        raise InputError(
            f"{where}: all examples of a stream must have one shape and type, but these have {tuple(x.shape[1:])} "
            f"{_type_name(x)} where the first have {tuple(first.shape[1:])} {_type_name(first)}. Make them equal."
        )


def _type_name(x: Tensor) -> str:
    return "uint8" if x.dtype == torch.uint8 else "float32"  # which float64 becomes
