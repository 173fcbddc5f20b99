"""Your own network: `network: {name: "examples.own_network:build", args: {width: 32}}` in a search space.

The function gets the shape of one example and the number of outputs, and returns an `nn.Module`. The output layer is
an `nn.Linear`; called `head`, it is found whatever else the network holds. Avoid BatchNorm and Dropout: with them, runs
cannot be trained several at a time, and each one trains alone.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


class Residual(nn.Module):
    """(n, width) -> (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class ResidualMlp(nn.Module):
    """(n, *input_shape) -> (n, n_outputs)."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width))
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(depth)))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def build(input_shape: tuple[int, ...], n_outputs: int, width: int = 64, depth: int = 2) -> nn.Module:
    """The network that cfsweep trains."""
    return ResidualMlp(input_shape, n_outputs, width, depth)
