"""From examples and class lists to a stream: order the classes, cut them into tasks, cut the validation shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, unknown
from cfsweep.training.streams._base import ClassId, Indices, Split, Stream, Task
from cfsweep.training.streams._encoder import encoded
from cfsweep.training.streams._latest import latest_cut, refuse_splits

TEST_SHARE = 0.2  # cut from the training data where the data has no test split of its own
TEST_SEED = 0  # fixed, so that no setting of a study moves an example in or out of the test split
MOST_OF_A_BYTE = 255
# Of red, green and blue within 0 and 1: what torchvision's published weights were trained with
# (https://docs.pytorch.org/vision/stable/models.html).
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHUNK = 4096  # examples converted at a time while measuring mean and deviation
_CHUNK_BYTES = 2**26  # of them, where they are counted


@dataclass(frozen=True)
class Examples:
    """Some examples: `x` is (n, *input_shape), uint8 or float32; `y` is (n,) int64, or (n, k) float64 of amounts."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class DataSet:
    """A whole data set with classes 0 .. n_classes-1; `files` maps each file that was read to its SHA-256."""

    train: Examples
    test: Examples
    n_classes: int
    files: dict[str, str]


@dataclass(frozen=True)
class Draft:
    """A task before its validation share is cut; `train` and `test` are positions in the store."""

    name: str
    classes: tuple[int, ...]
    train: Indices
    test: Indices


class TooFewExamples(InputError):
    """A class has too few examples to be cut into parts."""


def stratified_cut(
    labels: NDArray[np.int64],
    shares: Sequence[float],
    seed: int | Sequence[int],
    where: str,
    classes: Sequence[int] = (),
    class_ids: Sequence[ClassId] = (),
) -> tuple[Indices, ...]:
    """Positions, ascending: those that are kept, then those of each share; of each class a share, rounded half up.

    Depends on the order and equality of the labels alone, not on their values: two tasks that hold the same images
    under shifted labels are cut alike. Further shares leave the first one as it is. `classes` are those that must occur
    (default: those in `labels`), `class_ids` how the user calls the class of each number, if otherwise.

    Raises:
        TooFewExamples: a share, or what is kept, would have no example of a class.

    >>> kept, first, second = stratified_cut(np.array([0, 0, 0, 0, 1, 1, 1, 1]), (0.25, 0.5), 0, "here")
    >>> len(kept), len(first), len(second)
    (2, 2, 4)
    """
    rng = np.random.default_rng(seed)
    part = np.zeros(len(labels), dtype=np.int64)
    for label in classes or np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        sizes = [math.floor(share * len(members) + 0.5) for share in shares]
        left = len(members) - sum(sizes)
        if min(left, *sizes) < 1:
            named = class_ids[label] if class_ids else label
            raise TooFewExamples(
                f"{where}: too few examples of class {named}: a share of {' and of '.join(f'{s:g}' for s in shares)} "
                f"of its {len(members)} must leave at least 1 on each side, but gives {' and '.join(map(str, sizes))} "
                f"and {left}. Add examples, or change the share."
            )
        part[rng.permutation(members)[: sum(sizes)]] = np.repeat(np.arange(len(sizes)) + 1, sizes)
    return tuple(np.flatnonzero(part == number) for number in range(len(shares) + 1))


def with_test(examples: Examples, where: str) -> tuple[Examples, Examples]:
    """(train, test): a fixed, stratified share of `TEST_SHARE` becomes the test split. Raises as `stratified_cut`."""
    kept, cut = stratified_cut(strata(examples.y), (TEST_SHARE,), TEST_SEED, f"{where}, test share")
    return Examples(examples.x[kept], examples.y[kept]), Examples(examples.x[cut], examples.y[cut])


def split(config: StreamConfig, data: DataSet, n_tasks: int) -> Stream:
    """The data set's classes in `config.class_order`, cut into `config.n_tasks` (default `n_tasks`) equal tasks.

    Classes are numbered in the order in which they come: task k of m classes holds k*m .. k*m+m-1, and its name tells
    the data set's own numbers.

    Raises:
        InputError: the tasks would not be equal in size, or a class has too few examples.
    """
    n_tasks = config.n_tasks or n_tasks
    if data.n_classes % n_tasks:
        divisors = [str(n) for n in range(1, data.n_classes + 1) if data.n_classes % n == 0]
        raise InputError(
            f"stream `{config.name}`: `n_tasks` must divide the number of classes ({data.n_classes}), but got "
            f"n_tasks={n_tasks}. Use one of {', '.join(divisors)}."
        )
    order = np.arange(data.n_classes)
    if config.class_order != "fixed":
        order = np.random.default_rng(config.class_order).permutation(data.n_classes)
    new_number = torch.from_numpy(np.argsort(order))
    n_train = len(data.train.y)
    y = new_number[torch.cat([data.train.y, data.test.y])]
    drafts = []
    for classes in np.arange(data.n_classes).reshape(n_tasks, -1):
        rows = np.flatnonzero(np.isin(y.numpy(), classes))
        name = ", ".join(str(own) for own in order[classes])
        drafts.append(Draft(name, tuple(classes.tolist()), rows[rows < n_train], rows[rows >= n_train]))
    return assemble(config, torch.cat([data.train.x, data.test.x]), y, drafts, data.files)


def assemble(
    config: StreamConfig,
    x: Tensor,
    y: Tensor,
    drafts: Sequence[Draft],
    files: dict[str, str],
    class_ids: tuple[ClassId, ...] = (),
    texts: Sequence[str] = (),
) -> Stream:
    """The stream of `drafts`, each with its validation share cut, standardised as `config.standardise` says; a share
    for stop rules is cut beside it where `config.steering_frac` says so.

    `scalar`, the default of images: by the mean and deviation of all values of all tasks' training examples, one number
    each. `feature`, the default of flat data, and `channel` (the first dimension of an image): each feature or channel
    by its own, over the training examples of the first task, which alone may be seen when training begins. `unit` and
    `imagenet`: images of bytes by numbers that go by no data, within 0 and 1, and from there by ImageNet's. `none`: not
    at all. Steering, validation and test examples have no say in it. Each of `config.splits` is cut and standardised
    for itself. `class_ids` are the user's labels of the classes, where these are others than their numbers. Where
    `config.encoder` names one, all this is about the features that it makes of x, or of the `texts`, of which x (n, 1)
    has the numbers.

    Raises:
        InputError: a class has too few examples for the shares, a task has no test example, flat data has no channels,
            what is no image of bytes has no scale of its own, nor one without three channels that of ImageNet,
            or a feature varies too little to be scaled up; or several splits are to be cut by time.
    """
    encoder = None
    if config.encoder is not None:
        raw = [texts[number] for number in x[:, 0].long().tolist()] if texts else x
        x, encoder = encoded(config.encoder, config.encoder_args, raw)
    by = standardised_by(config, x.dim())
    cuts = cut_tasks(config, y, drafts, class_ids)
    first, *others = [_split(config, x, y, tasks, by) for tasks in cuts]
    return Stream(
        config.name,
        x,
        y,
        **vars(first),
        files=files,
        class_ids=class_ids,
        standardised=by,
        other_splits=tuple(others),
        validation=config.validation or "random",
        encoder=encoder,
    )


def cut_tasks(
    config: StreamConfig, y: Tensor, drafts: Sequence[Draft], class_ids: Sequence[ClassId] = ()
) -> list[tuple[Task, ...]]:
    """For each of `config.splits` the tasks of `drafts` with their shares cut. Raises as `assemble`."""
    refuse_splits(config)
    labels = strata(y)
    return [tuple(_cut(config, labels, draft, k, class_ids) for draft in drafts) for k in range(config.splits)]


def _split(config: StreamConfig, x: Tensor, y: Tensor, tasks: tuple[Task, ...], by: str) -> Split:
    shift, scale = _standardised(config, x, [task.train for task in tasks], by)
    if not torch.isfinite(torch.as_tensor(scale)).all():
        raise InputError(
            f"stream `{config.name}`: its features must vary by more than 1e-38, which float32 can scale up, but one "
            "does not. Multiply or drop it."
        )
    return Split(
        tasks,
        shift,
        scale,
        _unit(y[tasks[0].train]) if config.target == "regression" and y.is_floating_point() else None,
    )


def strata(y: Tensor) -> NDArray[np.int64]:
    """The classes (n,) of which each gives its share; amounts (n, k) are cut at random, as of one class."""
    found: NDArray[np.int64] = y.numpy() if y.dim() == 1 else np.zeros(len(y), np.int64)
    return found


def _unit(amounts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (k,) of amounts (n, k); a deviation of 0 counts as 1."""
    deviation = amounts.std(0, correction=0)
    return amounts.mean(0), torch.where(deviation > 0, deviation, 1.0)


def _cut(
    config: StreamConfig, labels: NDArray[np.int64], draft: Draft, number: int, class_ids: Sequence[ClassId]
) -> Task:
    """The task with the shares of the split of this number; split 0 is cut as where there is no other."""
    where = f"stream `{config.name}`, task `{draft.name}`"
    if not len(draft.test):
        raise InputError(f"{where}: each task needs at least 1 test example, but it has 0. Add some.")
    shares = {"validation_frac": config.validation_frac}
    if config.steering_frac is not None:
        shares["steering_frac"] = config.steering_frac
    where = f"{where}, {', '.join(f'{name}={share:g}' for name, share in shares.items())}"
    if config.validation == "latest":
        train, *cut = latest_cut(len(draft.train), tuple(shares.values()), where)
    else:
        seed = [config.split_seed, 0, number] if number else config.split_seed  # none that a stream draws from, too
        labels = labels[draft.train]
        train, *cut = stratified_cut(labels, tuple(shares.values()), seed, where, draft.classes, class_ids)
    validation, steering = (draft.train[part] for part in (*cut, train[:0])[:2])
    return Task(draft.name, draft.classes, draft.train[train], validation, draft.test, steering)


def standardised_by(config: StreamConfig, n_dimensions: int) -> str:
    """What examples are standardised by, the number of them counted as one of their dimensions."""
    return config.standardise or ("feature" if n_dimensions == 2 else "scalar")


def _standardised(
    config: StreamConfig, x: Tensor, train: Sequence[Indices], by: str
) -> tuple[float | Tensor, float | Tensor]:
    """(shift, scale) from the positions of each task's training examples."""
    if by == "none":
        return 0.0, 1.0
    if by == "scalar":
        mean, deviation = _mean_and_deviation(x, np.concatenate(train))
        return mean, 1.0 / deviation
    if by in ("unit", "imagenet"):
        return _of_bytes(config, x, by)
    if by == "channel" and x.dim() == 2:
        raise InputError(
            f"stream `{config.name}`: `standardise=channel` needs examples of several dimensions, but these have the "
            f"shape {tuple(x.shape[1:])}. Take `feature`."
        )
    first = x[train[0]].double()
    over = (0,) if by == "feature" else (0, *range(2, x.dim()))
    means, deviations = first.mean(over, keepdim=True)[0], first.std(over, correction=0, keepdim=True)[0]
    return means.float(), (1.0 / deviations.masked_fill(deviations == 0, 1.0)).float()


def _of_bytes(config: StreamConfig, x: Tensor, by: str) -> tuple[float | Tensor, float | Tensor]:
    """(shift, scale) of images (n, channels, height, width) uint8: x / 255, and from there by ImageNet's numbers."""
    shape, where = tuple(x.shape[1:]), f"stream `{config.name}`: `standardise={by}`"
    if x.dtype != torch.uint8 or x.dim() != 4:
        raise InputError(
            f"{where} needs images of bytes (uint8, channels x height x width), but these examples are "
            f"{str(x.dtype).removeprefix('torch.')} of the shape {shape}. Take `none` where they are scaled already."
        )
    if by == "unit":
        return 0.0, 1.0 / MOST_OF_A_BYTE
    if shape[0] != len(IMAGENET_MEAN):
        raise InputError(
            f"{where} needs images of 3 channels (red, green, blue), but these have {shape[0]}. Set "
            "`stream.args.mode=rgb` where they come from files, or take `unit`."
        )
    mean, deviation = (
        torch.tensor(of, dtype=torch.float64).reshape(-1, 1, 1) * MOST_OF_A_BYTE
        for of in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return mean.float(), (1.0 / deviation).float()


def _mean_and_deviation(x: Tensor, rows: Indices) -> tuple[float, float]:
    """Of all values of `x[rows]`; a deviation of 0 is returned as 1. The same on every machine: no parallel sums."""
    n_values = len(rows) * x[0].numel()
    # Counts are the same whatever the chunk, and large images are many values.
    size = _CHUNK if x.dtype != torch.uint8 else max(1, min(_CHUNK, _CHUNK_BYTES // x[0].numel()))
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    if x.dtype == torch.uint8:  # by counts: exact, and no copy in a wider type
        counts = np.zeros(256)
        for chunk in chunks:
            counts += torch.bincount(x[chunk].flatten(), minlength=256).numpy()
        values = np.arange(256)
        mean = float((counts * values).sum() / n_values)
        variance = float((counts * (values - mean) ** 2).sum() / n_values)
    else:
        mean = sum(float(x[chunk].numpy().sum(dtype=np.float64)) for chunk in chunks) / n_values
        squares = (float(((x[chunk].numpy().astype(np.float64) - mean) ** 2).sum()) for chunk in chunks)
        variance = sum(squares) / n_values
    return mean, math.sqrt(variance) or 1.0


def refuse_class_order(config: StreamConfig, why: str) -> None:
    """Raise unless the class order is `fixed`."""
    if config.class_order != "fixed":
        raise InputError(
            f"stream `{config.name}`: `class_order` must be `fixed`, because {why}, but got "
            f"class_order={config.class_order}. Leave it out."
        )


def require_n_tasks(config: StreamConfig, n_tasks: int) -> None:
    """Raise if another number of tasks is asked for than the stream has."""
    if config.n_tasks not in (None, n_tasks):
        raise InputError(
            f"stream `{config.name}`: it has {n_tasks} tasks, but got n_tasks={config.n_tasks}. Leave `n_tasks` out."
        )


def refuse_args(config: StreamConfig) -> None:
    """Raise if `config.args` is not empty."""
    for name in config.args:
        raise unknown(f"stream `{config.name}`", "argument", name, [])
