"""What the pieces' methods are given beside weights, state and values, and the buffer that some of them keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.training.ingredients._base import Indices


class Examples(NamedTuple):
    """Training examples of the task that has just ended: x (n, *input_shape) float32, labels (n, ...), mask (n,
    n_outputs) bool of the active outputs; for what is drawn at random, one uniform number in [0, 1) for each number of
    the labels, (n, ...), and standard normal noise (n, n_noise)."""

    x: Tensor
    labels: Tensor
    mask: Tensor
    uniform: Tensor
    noise: Tensor


class Answers(NamedTuple):
    """A network's outputs for n examples: logits (n, n_outputs), and by layer the features (n, ...) asked for."""

    logits: Tensor
    features: dict[str, Tensor]


class Comparison(NamedTuple):
    """The answers to a mini-batch, `now` by the weights in training, `before` by those of the end of the last task;
    labels (n, ...), mask (n, n_outputs) bool of the active outputs."""

    labels: Tensor
    mask: Tensor
    now: Answers
    before: Answers


class Drawn(NamedTuple):
    """Examples drawn beside a mini-batch: labels (n, ...), mask (n, n_outputs) bool of the active outputs, the logits
    (n, n_outputs) of the weights in training, and those stored with the examples (where none are stored: the same).
    Labels and mask of generated examples are as their `Generator` made them."""

    labels: Tensor
    mask: Tensor
    logits: Tensor
    stored: Tensor


class Generated(NamedTuple):
    """Made-up examples: x (n, *input_shape), and what the ingredient's own `replay_loss` is to get with each: labels
    (n, ...) of any kind, mask (n, ..., n_outputs) bool of the active outputs."""

    x: Tensor
    labels: Tensor
    mask: Tensor


class Held(NamedTuple):
    """The k examples of a buffer as the network sees them now: features (k, d), what goes into the output layer, and
    labels (k, ...)."""

    features: Tensor
    labels: Tensor


Features = Callable[[Indices], NDArray[np.float32]]
"""What goes into the output layer for the examples (n,) of the store, (n, d)."""


@dataclass(frozen=True)
class Buffer:
    """Old examples that are kept: their indices in the store, how many examples were `offered` so far, for an
    ingredient that stores logits those of the moment each example got in, (n, n_outputs), with minus infinity at
    outputs that were inactive for it, and for a buffer that balances classes how many of each were offered,
    (n_classes,)."""

    indices: Indices
    offered: int
    logits: NDArray[np.float32] | None = None
    offered_by_class: Indices | None = None

    def n_bytes(self, example_bytes: int) -> int:
        """What the examples take, `example_bytes` each, and their logits."""
        return len(self.indices) * example_bytes + (0 if self.logits is None else self.logits.nbytes)


EMPTY_BUFFER = Buffer(np.empty(0, np.int64), 0)
