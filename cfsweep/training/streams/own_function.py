"""Your own stream as a Python function."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line, unknown
from cfsweep.training.plugins import contained, current_folder_importable, imported
from cfsweep.training.streams._base import Stream
from cfsweep.training.streams._files import sha256
from cfsweep.training.streams._own_data import checked_examples, digest, own_stream
from cfsweep.training.streams._own_tasks import OwnExamples, OwnTask


def from_function(config: StreamConfig, path: str) -> Stream:
    """The stream that the function at `path`, `package.module:function`, called with `config.args`, returns.

    The function returns a list with one item per task. An item is a mapping with `train`, `test` and, if you like,
    `name`, or a tuple (train, test). Each part is a pair (x, y) of tensors or arrays, or a `torch.utils.data.Dataset`
    of such pairs, which is read once from front to back (a random transform is therefore frozen). A table of pandas,
    Polars or Arrow may be an x: its columns go by name. Where no task has `test`, a fixed, stratified fifth of `train`
    becomes test data. The validation share is always cut from `train`. Where `config.encoder` names one, each x may be
    a list of texts.

    The function is called in every worker and must return the same each time: `Stream.files` holds the SHA-256 of its
    module and of the arrays it returned, so a study can tell.

    Raises:
        InputError: the function is missing, raises, or returns anything else.
    """
    where = f"stream `{config.name}`"
    with current_folder_importable():
        function = imported(path, where)
        try:
            inspect.signature(function).bind(**config.args)
        except TypeError as error:
            raise InputError(f"{where}: its arguments do not fit ({error}). Change `args`.") from error
        try:
            with contained():
                returned = function(**config.args)
                items = list(returned) if isinstance(returned, Sequence) else None
        except Exception as error:  # the user's function may raise anything
            raise InputError(f"{where}: the function failed ({first_line(error)}). Call it to see more.") from error
        if not items:
            raise InputError(
                f"{where}: the function must return a list with one item per task, but returned "
                f"{'an empty one' if items is not None else type(returned).__name__}. See examples/own_stream.py."
            )
        texts: list[str] = []
        # datasets read their items lazily: still within the folder's reach
        tasks = [_task(item, f"task {number}", where, config.target, texts) for number, item in enumerate(items)]
    _refuse_misfit_texts(config, tasks, texts)
    files = {f"{config.name} (returned arrays)": digest(tasks)}
    if texts:
        files[f"{config.name} (returned texts)"] = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    source = inspect.getsourcefile(inspect.unwrap(function)) if inspect.isfunction(function) else None
    if source and Path(source).is_file():
        files[Path(source).name] = sha256(Path(source))
    return own_stream(config, tasks, files, texts)


def _refuse_misfit_texts(config: StreamConfig, tasks: Sequence[OwnTask], texts: Sequence[str]) -> None:
    """
    Raises:
        InputError: there are texts, but nothing that makes features of them, or something else beside them.
    """
    where = f"stream `{config.name}`"
    if texts and config.encoder is None:
        raise InputError(f"{where}: its x are texts, which need an encoder. Name one, `--encoder module:function`.")
    if texts and len(texts) != sum(len(part.x) for task in tasks for part in task.parts):
        raise InputError(f"{where}: x must be texts in all tasks or in none, but some are numbers. Make them equal.")


def _task(item: Any, name: str, stream: str, target: str = "classification", texts: list[str] | None = None) -> OwnTask:
    """`texts` gets those that an x has, whose numbers are its x then."""
    where = f"{stream}, {name}"
    if isinstance(item, Mapping):
        for key in item:
            if key not in ("train", "test", "name"):
                raise unknown(where, "key", str(key), ["train", "test", "name"])
        train, test, name = item.get("train"), item.get("test"), str(item.get("name", name))
    elif isinstance(item, tuple | list) and len(item) in (1, 2):
        train, test = item[0], item[1] if len(item) == 2 else None
    else:
        raise InputError(
            f"{where}: a task is a mapping with `train` and `test` or a tuple (train, test), but got "
            f"{type(item).__name__}. See examples/own_stream.py."
        )
    if train is None:
        raise InputError(f"{where}: a task needs `train`, but it is missing. Add it.")
    read = _part(train, f"{where}, train", target, texts)
    return OwnTask(name, read, None if test is None else _part(test, f"{where}, test", target, texts))


def _part(part: Any, where: str, target: str = "classification", texts: list[str] | None = None) -> OwnExamples:
    if isinstance(part, TensorDataset) and len(part.tensors) == 2:
        return checked_examples(*part.tensors, where, target=target)
    if isinstance(part, Dataset):
        return _read(part, where, target, texts)
    if isinstance(part, tuple | list) and len(part) == 2:
        return checked_examples(_numbered(part[0], texts), part[1], where, target=target)
    raise InputError(
        f"{where}: it must be a pair (x, y) or a torch Dataset, but got {type(part).__name__}. "
        "See examples/own_stream.py."
    )


def _numbered(x: Any, texts: list[str] | None) -> Any:
    """x itself; of texts their numbers (n, 1), as they are added to `texts`."""
    listed = x.tolist() if isinstance(x, np.ndarray) and x.dtype.kind in "UO" else x
    if texts is None or not isinstance(listed, list | tuple) or not listed:
        return x
    if not all(isinstance(one, str) for one in listed):
        return x
    start = len(texts)
    texts.extend(map(str, listed))
    return np.arange(start, len(texts))[:, None]


def _read(dataset: Dataset[Any], where: str, target: str, texts: list[str] | None = None) -> OwnExamples:
    if not hasattr(dataset, "__len__"):
        raise InputError(f"{where}: a dataset must have a length, but {type(dataset).__name__} has none. Add __len__.")
    try:
        with contained():
            items = [dataset[i] for i in range(len(dataset))]
            xs, ys = [item[0] for item in items], [item[1] for item in items]
    except Exception as error:  # the user's dataset may raise anything
        raise InputError(
            f"{where}: reading the dataset failed ({first_line(error)}). Its items must be pairs (x, label)."
        ) from error
    numbers = _numbered(xs, texts)
    for x in numbers:
        if not isinstance(x, Tensor | np.ndarray):  # a PIL image would pass as an array, in height x width x channels
            raise InputError(
                f"{where}: a dataset's x must be a tensor or an array, but got {type(x).__name__}. "
                "Give the dataset a transform such as torchvision's PILToTensor."
            )
    return checked_examples(numbers, ys, where, target=target)
