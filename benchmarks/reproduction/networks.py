"""The convolutional network of the two-data-set table."""

from __future__ import annotations

from torch import nn


def small_cnn(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """Two 3x3 convolutions (16, 32), each halved by max-pooling, and a layer of 128 units; (1, 28, 28) images."""
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 128),
        nn.ReLU(),
        nn.Linear(128, n_outputs),
    )
