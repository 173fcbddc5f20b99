"""Fully connected layers with ReLU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from cfsweep.training.networks._args import positive_ints, require_fits


class Mlp(nn.Module):
    """(n, *input_shape) -> (n, n_outputs), through `hidden` layers; without any, a linear classifier."""

    def __init__(self, input_shape: tuple[int, ...], n_outputs: int, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *positive_ints("mlp", "hidden", hidden)]
        require_fits("mlp", sum((one + 1) * other for one, other in pairwise([*sizes, n_outputs])))
        self.body = nn.Sequential(nn.Flatten())
        for size_in, size_out in pairwise(sizes):
            self.body.extend([nn.Linear(size_in, size_out), nn.ReLU()])
        self.head = nn.Linear(sizes[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


def linear(input_shape: tuple[int, ...], n_outputs: int) -> Mlp:
    """(n, *input_shape) -> (n, n_outputs), by the output layer alone: what goes into it is what the network sees."""
    return Mlp(input_shape, n_outputs, ())
