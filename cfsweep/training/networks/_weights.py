"""Weights that were trained elsewhere, as they lie in a file. Nothing in it is run."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load
from torch import Tensor

from cfsweep.errors import InputError, first_line

# What wrappers put before the names: of data-parallel training, and of torch.compile.
_PREFIXES = ("module.", "_orig_mod.")


def read_weights(path: Path, where: str) -> tuple[dict[str, Tensor], str]:
    """The tensors that a file holds, by name, and its SHA-256: a `.safetensors` file, or one that `torch.save` wrote of
    a `state_dict`. `where` opens the line of what is refused.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"{where}: there is no such file. Give a .safetensors file, or one that torch.save wrote.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: it cannot be read ({error.strerror}). Change its rights.") from error
    try:
        is_safe = path.suffix.lower() == ".safetensors"
        with warnings.catch_warnings(action="ignore"):  # of kinds of tensors that are refused below
            found = load(content) if is_safe else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise nearly anything on files of something else
        raise InputError(
            f"{where}: it holds no weights ({_why(error)}). Save the model's `state_dict` anew."
        ) from error
    return plain_tensors(found, where), hashlib.sha256(content).hexdigest()


def plain_tensors(found: object, where: str) -> dict[str, Tensor]:
    """`found` as tensors by name.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(found, Mapping) or not all(isinstance(name, str) and _is_plain(v) for name, v in found.items()):
        raise InputError(
            f"{where}: tensors of real numbers by the names of parameters are needed. Save the model's `state_dict`."
        )
    return dict(found)


def prefix_of(names: Iterable[str]) -> str | None:
    """What a wrapper has put before all of the names of weights, if one has.

    >>> prefix_of(["module.0.weight", "module.0.bias"]), prefix_of(["0.weight", "module.0.bias"])
    ('module.', None)
    """
    listed = list(names)
    return next((prefix for prefix in _PREFIXES if listed and all(name.startswith(prefix) for name in listed)), None)


def _is_plain(value: object) -> bool:
    """Whether it is a tensor that holds all of its numbers."""
    if not isinstance(value, Tensor) or value.is_complex() or value.is_quantized:
        return False
    return value.layout == torch.strided and not value.is_meta


def _why(error: Exception) -> str:
    """What is wrong with a file, without torch's advice to run what is in it."""
    if isinstance(error, UnpicklingError):
        return "beside tensors it has something that would have to be run, or it is no file of torch.save"
    return first_line(error).partition(". ")[0]
