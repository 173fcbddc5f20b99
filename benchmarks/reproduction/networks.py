"""The convolutional network of the two-data-set table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def small_cnn(input_shape: tuple[int, ...], n_outputs: int, channels: Sequence[int], hidden: int) -> nn.Module:
    """Two 3x3 convolutions of `channels`, each halved by max-pooling, and a layer of `hidden` units."""
    (first, second), (n_inputs, height, width) = channels, input_shape
    return nn.Sequential(
        nn.Conv2d(n_inputs, first, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )
