"""Read the files that torchvision downloads, as uint8 tensors, and name the file that is wrong.

torchvision's classes fetch the files, and are imported for that alone, since they take longer than all other work
before a sweep. Reading goes file by file here, for two more reasons: the user learns *which* file is truncated, and
torchvision's check of MD5 sums (CIFAR) would refuse a smaller set in the true format. What was read is proven by the
SHA-256 sums that go into the study instead.
"""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError, first_line
from cfsweep.training.streams._assemble import DataSet, Examples
from cfsweep.training.streams._files import data_root, require_files, sha256

IdxName = Literal["MNIST", "FashionMNIST"]
CifarName = Literal["CIFAR10", "CIFAR100"]
_Read = TypeVar("_Read")
_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR_FILES = {  # the folder, the files to train on, the file to test on
    "CIFAR10": ("cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], "test_batch"),
    "CIFAR100": ("cifar-100-python", ["train"], "test"),
}
_UBYTE = b"\0\0\x08"  # how an IDX file of bytes begins


def read_idx(config: StreamConfig, name: IdxName) -> DataSet:
    """MNIST or FashionMNIST: images (1, 28, 28), 10 classes.

    Raises:
        InputError: a file is missing, truncated, or does not fit its partner.
    """
    names = [f"{name}/raw/{file}" for file in _IDX_FILES]
    root = _fetched(config, name, names)
    x_train, y_train, x_test, y_test = (
        torch.from_numpy(_guarded(config, partial(_idx, n_dimensions=n), root / file))
        for file, n in zip(names, (3, 1, 3, 1), strict=True)
    )
    train = _paired(config, x_train.unsqueeze(1), y_train.long(), root / names[1], 10)
    test = _paired(config, x_test.unsqueeze(1), y_test.long(), root / names[3], 10)
    return DataSet(train, test, 10, {file: sha256(root / file) for file in names})


def read_cifar(config: StreamConfig, name: CifarName) -> DataSet:
    """CIFAR-10 or CIFAR-100 (fine labels): images (3, 32, 32), 10 or 100 classes. Raises as `read_idx`."""
    n_classes = 10 if name == "CIFAR10" else 100
    folder, train_files, test_file = _CIFAR_FILES[name]
    train_names, test_names = [f"{folder}/{file}" for file in train_files], [f"{folder}/{test_file}"]
    root = _fetched(config, name, train_names + test_names)

    def read(names: list[str]) -> Examples:
        batches = [_paired(config, *_guarded(config, _cifar_batch, root / n), root / n, n_classes) for n in names]
        return Examples(torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches]))

    files = {file: sha256(root / file) for file in train_names + test_names}
    return DataSet(read(train_names), read(test_names), n_classes, files)


def _fetched(config: StreamConfig, data_set: str, names: list[str]) -> Path:
    """The data folder, with all of `names` in it; downloads only if that was asked for and something is missing."""
    root = data_root(config)
    if config.download and not all((root / name).is_file() for name in names):
        from torchvision import datasets  # a slow import

        try:
            getattr(datasets, data_set)(root, download=True)
        except Exception as error:  # whatever the network, the server or the disk does: one line for the user
            raise InputError(
                f"stream `{config.name}`: downloading {data_set} into {root} failed ({first_line(error)}). "
                "Fetch the files by hand, or try again."
            ) from error
    require_files(config, root, names)
    return root


def _guarded(config: StreamConfig, read: Callable[[str], _Read], path: Path) -> _Read:
    try:
        return read(str(path))
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(
            f"stream `{config.name}`: the file {path} is truncated or not what its name says ({first_line(error)}). "
            "Replace it, or delete it and fetch it with `--download`."
        ) from error


def _paired(config: StreamConfig, x: Tensor, y: Tensor, path: Path, n_classes: int) -> Examples:
    if len(x) != len(y) or not len(y) or int(y.min()) < 0 or int(y.max()) >= n_classes:
        raise InputError(
            f"stream `{config.name}`: the file {path} must hold one label in 0 .. {n_classes - 1} for each of the "
            f"{len(x)} images, but it holds {len(y)} with values {sorted(set(y.tolist()))[:12]}. Replace the files."
        )
    return Examples(x, y)


def _idx(path: str, n_dimensions: int) -> NDArray[np.uint8]:
    """The bytes in an IDX file: a header of big-endian integers, and the values."""
    content = Path(path).read_bytes()
    if content[:4] != _UBYTE + bytes([n_dimensions]):
        raise ValueError(f"it does not begin as an IDX file of bytes in {n_dimensions} dimensions does")
    begin = 4 + 4 * n_dimensions
    shape = np.frombuffer(content[4:begin], ">u4").tolist()
    if len(content) - begin != math.prod(shape):
        raise ValueError(f"it holds {max(0, len(content) - begin)} bytes of {' x '.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape).copy()


def _cifar_batch(path: str) -> tuple[Tensor, Tensor]:
    with open(path, "rb") as file:
        entry = _PlainUnpickler(file, encoding="latin1").load()  # Python 2 wrote the published files
    labels = entry["labels"] if "labels" in entry else entry["fine_labels"]
    pixels = np.ascontiguousarray(entry["data"])
    if pixels.dtype != np.uint8:
        raise TypeError(f"the images are {pixels.dtype} where uint8 was expected")
    return torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy()), torch.tensor(labels, dtype=torch.int64)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain containers only: without the MD5 check a pickle could run any code."""

    _allowed = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"a data file may not name {module}.{name}")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)
