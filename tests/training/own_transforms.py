"""Transforms of images as a user may write them, rightly and wrongly."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Transform = Callable[[Tensor], Any]


def jitter() -> Transform:
    """Brighter or darker by up to a fifth, as chance says."""
    return lambda x: (x.float() * (0.8 + 0.4 * torch.rand(()))).to(x.dtype)


def all_noise() -> Transform:
    """From the random numbers of torch, Python and NumPy."""
    return lambda x: torch.rand(x.shape) + random.random() + np.random.rand()  # noqa: NPY002


def in_place() -> Transform:
    return lambda x: x.mul_(2)


def fails() -> Transform:
    raise KeyError("why")


def nothing() -> None:
    return None


def smaller() -> Transform:
    return lambda x: x[:, 1:]


def wider() -> Transform:
    return lambda x: x.double()


def array() -> Transform:
    return lambda x: x.numpy()


def undefined() -> Transform:
    return lambda x: x * torch.nan


def raises() -> Transform:
    def transform(x: Tensor) -> Tensor:
        raise RuntimeError("not today")

    return transform


def counts() -> Transform:
    """Another picture in each call, whatever the seed."""
    seen: list[Tensor] = []

    def transform(x: Tensor) -> Tensor:
        seen.append(x)
        return x + len(seen)

    return transform
