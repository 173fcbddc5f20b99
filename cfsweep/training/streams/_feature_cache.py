"""Features on disk, by what they were made of: made once, whoever asks, and made again where a file is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cfsweep.errors import not_written
from cfsweep.files import cache_folder, write_atomically

FEATURES, DIGEST = "features", "sha256"


def cached(key: str, make: Callable[[], Tensor], say: Callable[[str], object]) -> Tensor:
    """The features (n, d) float32 filed under `key`, made and filed if there are none, or no whole ones. `say` is told
    in one line what was filed, or was damaged.

    Two processes may make the same ones: each writes a file of its own and renames it, so that a reader finds a whole
    one.

    Raises:
        InputError: nothing can be written there.
    """
    path = cache_folder(FEATURES) / f"{key}.safetensors"
    if path.exists():
        found = _whole(path)
        if found is not None:
            return found
        say(f"{path} is damaged; the features are made again")
    features = make()
    # Bytes first: on a full disk safetensors would raise an error of its own.
    content = save({FEATURES: features.contiguous()}, {DIGEST: digest(features.numpy())})
    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        raise not_written(error) from error
    say(f"features {tuple(features.shape)} of the encoder are in {path}, {len(content) / 2**20:.1f} MiB")
    return features


def _whole(path: Path) -> Tensor | None:
    """What the file holds, if it is what was written."""
    try:
        with safe_open(path, "pt") as file:
            features: Tensor = file.get_tensor(FEATURES)
            return features if file.metadata()[DIGEST] == digest(features.numpy()) else None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def digest(array: NDArray[np.generic]) -> str:
    """The SHA-256 of an array: type, shape and numbers.

    >>> digest(np.zeros(2, np.uint8)) == digest(np.zeros((1, 2), np.uint8))
    False
    """
    content = hashlib.sha256(repr((str(array.dtype), array.shape)).encode())
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def of_weights(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of tensors by name, of any type.

    >>> of_weights({"a": torch.zeros(2)}) == of_weights({"b": torch.zeros(2)})
    False
    """
    content = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        content.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        content.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()
