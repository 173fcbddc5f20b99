"""Random streams derived from what they are for, so that no run depends on its neighbours or on its history."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

# Their places in this list are in every random number: a new one goes to the end.
Purpose = Literal[
    "init",
    "order",
    "mix",
    "buffer",
    "examples",
    "label",
    "torch",
    "draw",
    "noise",
    "evaluation",
    "projection",
    "augment",
    "augment_drawn",
]
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def generator(seed: int, purpose: Purpose, task: int = 0, epoch: int = 0) -> np.random.Generator:
    """A generator that depends on (seed, task, epoch, purpose) and on nothing else.

    >>> bool(generator(0, "order", task=1).integers(10) == generator(0, "order", task=1).integers(10))
    True
    """
    return np.random.default_rng(np.random.SeedSequence([seed, task, epoch, _PURPOSES.index(purpose)]))


def torch_seed(seed: int, purpose: Purpose, task: int = 0) -> int:
    """A seed for `torch.manual_seed`, derived in the same way; in [0, 2**63)."""
    return int(generator(seed, purpose, task).integers(2**63))
