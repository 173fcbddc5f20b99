"""Task streams: the built-in ones, your own function, your own folder.

`load_stream(StreamConfig(name=...))` gives the `Stream`; `registry` lists the built-in ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, unknown
from cfsweep.files import expanded
from cfsweep.training.plugins import installed, path_of
from cfsweep.training.streams._base import ClassId, EncoderInfo, Indices, Split, Stream, Task
from cfsweep.training.streams._cache import mapped
from cfsweep.training.streams._encoder import Encoder, open_encoder
from cfsweep.training.streams._files import default_data_root
from cfsweep.training.streams._image_layout import holds_images, is_image
from cfsweep.training.streams._preprocessing import Preprocessing
from cfsweep.training.streams._table_settings import SUFFIXES, TableSettings, is_table
from cfsweep.training.streams.digits import split_digits
from cfsweep.training.streams.hugging_face import HUGGING_FACE, from_dataset, task_of_dataset
from cfsweep.training.streams.image_folder import from_images, pixels_below, task_of_images
from cfsweep.training.streams.own_folder import from_file, from_folder
from cfsweep.training.streams.own_function import from_function
from cfsweep.training.streams.own_table import from_table, next_of_table, rows_of_table, texts_of_table
from cfsweep.training.streams.vision import mnist_fashion, mnist_halves, permuted_mnist, split_cifar, split_idx

__all__ = [
    "HUGGING_FACE",
    "SUFFIXES",
    "BuiltinStream",
    "ClassId",
    "Encoder",
    "EncoderInfo",
    "Indices",
    "Preprocessing",
    "Split",
    "Stream",
    "TableSettings",
    "Task",
    "default_data_root",
    "function_of",
    "is_image",
    "is_table",
    "load_stream",
    "load_task",
    "mapped",
    "next_of_table",
    "open_encoder",
    "pixels_below",
    "place_of",
    "registry",
    "rows_of_table",
    "texts_of_table",
]


@dataclass(frozen=True)
class BuiltinStream:
    """A built-in stream: one line for the user, and what loads it."""

    doc: str
    load: Callable[[StreamConfig], Stream]


registry: dict[str, BuiltinStream] = {
    "split-digits": BuiltinStream("scikit-learn's 8x8 digits, 5 tasks of 2 classes; embedded", split_digits),
    "split-mnist": BuiltinStream("MNIST, 5 tasks of 2 digits", partial(split_idx, data_set="MNIST")),
    "split-fashion-mnist": BuiltinStream(
        "FashionMNIST, 5 tasks of 2 garments", partial(split_idx, data_set="FashionMNIST")
    ),
    "permuted-mnist": BuiltinStream("MNIST under 10 pixel permutations, the first the identity", permuted_mnist),
    "mnist-halves": BuiltinStream("MNIST 0-4, then 5-9", mnist_halves),
    "mnist-fashion": BuiltinStream("MNIST, then FashionMNIST", mnist_fashion),
    "split-cifar10": BuiltinStream("CIFAR-10, 5 tasks of 2 classes", partial(split_cifar, data_set="CIFAR10")),
    "split-cifar100": BuiltinStream("CIFAR-100, 10 tasks of 10 classes", partial(split_cifar, data_set="CIFAR100")),
}


def place_of(config: StreamConfig) -> Path | None:
    """The user's file or folder that a stream is read from; None where it is something else."""
    if config.name in registry or config.name.startswith(HUGGING_FACE):
        return None
    place = expanded(config.name)
    return place if place.exists() else None


def function_of(config: StreamConfig) -> str | None:
    """The import path of the function of the user's, or of an installed package, that a stream is of; None where it is
    something else."""
    if config.name in registry or config.name.startswith(HUGGING_FACE) or place_of(config) is not None:
        return None
    return path_of("streams", config.name)


def load_task(config: StreamConfig, features: Sequence[str] = ()) -> Stream:
    """The stream of the one task at `config.name`: a file, a folder of parts or of images, or `hf:` and a data set. The
    columns of a file are the `features`, if these are given, in their order.

    Raises:
        InputError: there is none, or it is damaged or breaks a rule.
    """
    if config.name.startswith(HUGGING_FACE):
        return task_of_dataset(config)
    place = expanded(config.name)
    if place.is_dir() and holds_images(place):
        return task_of_images(config)
    return from_file(config, features)


def load_stream(config: StreamConfig) -> Stream:
    """The stream that `config` describes; equal for equal configs and data.

    `config.name` is looked up as a built-in stream, then, behind `hf:`, as a data set of Hugging Face's, then as a
    table, or a folder of tasks or of images, then as the entry point of an installed package, then as
    `package.module:function`.

    Raises:
        InputError: the name is unknown, a file is missing or damaged, or a setting does not fit the data.
    """
    where = f"stream `{config.name}`"
    for key, seed in (("split_seed", config.split_seed), ("class_order", config.class_order)):
        if seed != "fixed" and seed < 0:
            raise InputError(f"{where}: `{key} >= 0` must hold, but got {key}={seed}. Take another seed.")
    found = _load(config, where)
    if config.learned >= len(found.tasks):
        raise InputError(
            f"{where}: `stream.learned < {len(found.tasks)}`, its number of tasks, must hold, but got "
            f"{config.learned}. Leave a task to train."
        )
    return replace(
        found,
        target=config.target,
        scores=config.scores,
        positive=config.positive,
        class_weights=config.class_weights,
        n_learned=config.learned,
        augment=config.augment,
    )


def _load(config: StreamConfig, where: str) -> Stream:
    if config.name in registry:
        return registry[config.name].load(config)
    if config.name.startswith(HUGGING_FACE):
        return from_dataset(config)
    place = expanded(config.name)
    if is_table(config.args) and (place.is_dir() or (place.is_file() and place.suffix.lower() in SUFFIXES)):
        return from_table(config)
    if place.is_dir():
        return from_images(config) if holds_images(place) else from_folder(config)
    if place.is_file() and place.suffix.lower() in SUFFIXES:
        raise InputError(
            f"{where}: a table must say what its columns are: add `--arg target=COLUMN` and `--arg task=COLUMN`. (A "
            "stream without is a folder with one .npz or .parquet file per task.)"
        )
    if place.suffix in SUFFIXES and not place.exists():
        raise InputError(f"{where}: there is no such file. Check the path.")
    if place.is_file() or place.suffix in (".csv", ".tsv", ".npz", ".parquet", ".pt", ".json", ".zip"):
        raise InputError(
            f"{where}: a stream is a folder with one .npz or .parquet file per task, not a single file. Write each "
            "task into one, or give a function that reads yours, `package.module:function`, as examples/own_stream.py."
        )
    path = path_of("streams", config.name)
    if path is not None:
        return from_function(config, path)
    if os.sep in config.name or config.name.startswith((".", "~")):
        raise InputError(f"{where}: there is no such folder. Check the path.")
    raise unknown("--stream", "stream", config.name, [*registry, *installed("streams")])
