"""Encoders that the tests name by their import path, good ones and bad ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CALLS: list[int] = []
"""The sizes of the batches that `counted` was given."""


def doubled(factor: float = 2.0) -> Callable[[Tensor], Tensor]:
    """The pixels of an image as one row, times a factor."""

    def encode(x: Tensor) -> Tensor:
        CALLS.append(len(x))
        return x.flatten(1).float() * factor

    return encode


class Network(nn.Module):
    """With dropout and batch statistics, which are off in evaluation mode."""

    def __init__(self, seed: int, size: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.LazyLinear(size), nn.BatchNorm1d(size))
            self.layers.eval()(torch.zeros(2, 1, 8, 8))
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x.float())
        return found


def network(seed: int = 0, size: int = 5) -> nn.Module:
    return Network(seed, size)


def lengths() -> Callable[[Sequence[str]], Any]:
    """Of a text its length and its number of vowels."""
    return lambda texts: np.array([[len(text), sum(map(text.count, "aeiou"))] for text in texts])


class Holding:
    """A callable that holds a network."""

    def __init__(self, seed: int) -> None:
        self.network = Network(seed, 3).eval()

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x)
        return found


def holding(seed: int = 0) -> Holding:
    return Holding(seed)


def enclosing(seed: int = 0) -> Callable[[Tensor], Tensor]:
    inside = Network(seed, 3).eval()
    return lambda x: inside(x)


def nan_at(number: int) -> Callable[[Tensor], Tensor]:
    """What gives no number for the example whose first pixel is `number`."""
    return lambda x: x.flatten(1).float().masked_fill(x.flatten(1)[:, :1] == number, torch.nan)


def unflattened() -> Callable[[Tensor], Tensor]:
    return lambda x: x.float()


def random() -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1) + torch.rand(len(x), 1)


def widening() -> Callable[[Tensor], Tensor]:
    """As wide as the batch is long."""
    return lambda x: x.flatten(1)[:, :1].float().expand(-1, len(x))


def raising() -> Callable[[Tensor], Tensor]:
    def encode(x: Tensor) -> Tensor:
        raise RuntimeError(f"no such layer for {len(x)} examples")

    return encode


def nothing() -> int:
    return 3


def failing() -> Callable[[Tensor], Tensor]:
    raise OSError("no weights here")


def text_tasks() -> list[Any]:
    """Two tasks of texts of two classes, which differ in their letters."""
    words, tasks = ["a", "bb", "ccc", "dddd"], []
    for first in (0, 2):
        parts = {}
        for part, n in (("train", 12), ("test", 4)):
            texts = [words[first + label] * 5 + "e" * k for label in (0, 1) for k in range(n)]
            parts[part] = (texts, first + np.repeat([0, 1], n))
        tasks.append(parts)
    return tasks


def mixed_tasks() -> list[Any]:
    """A task of texts, and one of numbers."""
    train, test = (np.zeros((8, 1)), np.repeat([2, 3], 4)), (np.zeros((4, 1)), np.repeat([2, 3], 2))
    return [text_tasks()[0], {"train": train, "test": test}]
