"""Parts cut by time: what is held out is what came last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams._base import Indices


def latest_cut(n: int, shares: Sequence[float], where: str) -> tuple[Indices, ...]:
    """Positions among `n` examples in the order of time, ascending: those that are kept, then those of each share,
    rounded half up. The first share is the latest, the next one what came just before it, and so on.

    Classes have no say in it, so that a part may lack one.

    Raises:
        InputError: a share, or what is kept, would have no example.

    >>> kept, latest, before = latest_cut(10, (0.2, 0.3), "here")
    >>> kept.tolist(), latest.tolist(), before.tolist()
    ([0, 1, 2, 3, 4], [8, 9], [5, 6, 7])
    """
    sizes = [math.floor(share * n + 0.5) for share in shares]
    if min(n - sum(sizes), *sizes) < 1:
        raise InputError(
            f"{where}: too few examples: the latest {' and '.join(f'{share:g}' for share in shares)} of its {n} must "
            f"leave at least 1 in each part, but gives {' and '.join(map(str, sizes))} and leaves {n - sum(sizes)}. "
            "Add examples, or change the share."
        )
    ends = n - np.cumsum([0, *sizes])
    cut = (np.arange(end - size, end) for end, size in zip(ends, sizes, strict=False))
    return np.arange(ends[-1]), *cut


def refuse_splits(config: StreamConfig) -> None:
    """Raise if several splits are asked for where time leaves but one."""
    if config.validation == "latest" and config.splits > 1:
        raise InputError(
            f"stream `{config.name}`: `splits` must be 1 where the latest examples are validation data, the same ones "
            f"each time, but got splits={config.splits}. Leave it out, or set `stream.validation=random`."
        )
