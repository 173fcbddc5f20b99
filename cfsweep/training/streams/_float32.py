"""Numbers that float32 cannot hold: columns whose values lie close together but far from zero, found and mended.

A network computes in float32, which keeps 24 bits: of nanoseconds since 1970, or of 1e9 ± 10, nothing is left after
the cast. So such columns are standardised in float64 before it, and all others are cast as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERATED = 1e-3  # of a column's deviation and of its range: what the cast may take from a value
REFUSED = 0.02  # the same, where nothing can be done about it
_ROUNDING, _SMALLEST = 2.0**-24, 2.0**-150  # at most what a cast takes: of a value, and from one near zero
NOISE = 1e-13  # of a value: what varies less than that is rounding in float64, not signal

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Extent:
    """Of each column of some examples (*input_shape,): its lowest and highest value, and the most that the cast takes
    from one; 0 where that is far from what is tolerated."""

    low: Values
    high: Values
    lost: Values

    def loses(self, share: float) -> Mask:
        """The columns of which the cast takes more than this share of the range, most constant ones among them.

        >>> x = np.array([[1e9, 0.1, 0.5], [1e9 + 10, 0.1, 0.7]])
        >>> extent(x).loses(0.001).tolist()
        [True, True, False]
        """
        found: Mask = self.lost > share * (self.high - self.low)
        return found


def extent(x: NDArray[Any]) -> Extent:
    """The extent of examples (n, *input_shape) of any type."""
    low, high = x.min(0).astype(np.float64), x.max(0).astype(np.float64)
    lost = np.zeros_like(low)
    if not np.can_cast(x.dtype, np.float32, "safe"):
        most = np.maximum(_ROUNDING * np.maximum(abs(low), abs(high)), _SMALLEST)
        near = TOLERATED * (high - low) < most
        lost[near] = _lost(x[:, near].astype(np.float64))
    return Extent(low, high, lost)


def _lost(columns: Values) -> Values:
    with np.errstate(over="ignore", under="ignore"):
        found: Values = abs(columns - columns.astype(np.float32)).max(0, initial=0.0)
    return found


def coarse(parts: Iterable[NDArray[Any]], by: str, share: float = TOLERATED) -> list[Mask]:
    """For each part the columns (*input_shape,) of which the cast takes more than `share`: of their range there, and of
    the deviation by which they are standardised, or of the range over all parts where the first is constant.

    >>> x = np.array([[1e9, 0.1, 0.5], [1e9 + 10, 0.1, 0.7]])
    >>> coarse([x], "feature")[0].tolist()
    [True, False, False]
    """
    return _coarse(parts, by, share)[0]


def _coarse(parts: Iterable[NDArray[Any]], by: str, share: float) -> tuple[list[Mask], Values, Values]:
    """The same; and the mean and deviation of the first part. One part after the other is looked at."""
    extents, first = [], None
    for part in parts:
        first = first or _mean_and_deviation(part, by)
        extents.append(extent(part))
    assert first is not None
    mean, deviation = first
    low, high = np.min([one.low for one in extents], 0), np.max([one.high for one in extents], 0)
    scale = np.where(deviation > NOISE * abs(mean), deviation, high - low)[0]
    varies = scale > NOISE * np.maximum(abs(low), abs(high))
    return [one.loses(share) & (one.lost > share * scale) & varies for one in extents], mean, deviation


@dataclass(frozen=True)
class Move:
    """What is done with examples before they become float32: coarse columns are standardised, in float64;
    where there are none, `by` is None. Else it holds their centre, 0 for all others, and their scale, 1 for those."""

    by: tuple[Values, Values] | None = None

    def wide(self, part: NDArray[Any]) -> NDArray[Any]:
        """The examples (n, *input_shape) as they are cast then."""
        return part if self.by is None else (part - self.by[0]) / self.by[1]

    def narrow(self, part: NDArray[Any]) -> NDArray[Any]:
        """The same in float32; uint8 stays uint8."""
        return part if part.dtype == np.uint8 else self.wide(part).astype(np.float32, copy=False)


def move_of(parts: Iterable[NDArray[Any]], by: str) -> Move:
    """By the first part; nothing where no column of any is coarse, or where `by` is `none`.

    >>> x = np.array([[1e9 - 3, 5.0], [1e9 + 3, 6.0]])
    >>> move_of([x], "feature").wide(x).tolist()
    [[-1.0, 5.0], [1.0, 6.0]]
    """
    if by == "none":
        return Move()
    masks, mean, deviation = _coarse(parts, by, TOLERATED)
    which = np.any(masks, axis=0)
    if not which.any():
        return Move()
    concerned = which[None].any(_over(which[None], by), keepdims=True)
    return Move((np.where(concerned, mean, 0.0), np.where(concerned & (deviation > 0), deviation, 1.0)))


def _mean_and_deviation(x: NDArray[Any], by: str) -> tuple[Values, Values]:
    """Of `x`, in float64, with as many dimensions as `x`; of each column where `by` is `none`."""
    wide, over = x.astype(np.float64), _over(x, by)
    return wide.mean(over, keepdims=True), wide.std(over, keepdims=True)


def _over(x: NDArray[Any], by: str) -> tuple[int, ...]:
    """The dimensions of examples that share a mean and a deviation."""
    if by == "scalar":
        return tuple(range(x.ndim))
    return (0, *range(2, x.ndim)) if by == "channel" else (0,)


def sha256_of(parts: Iterable[NDArray[Any]]) -> str:
    """Over all bytes of the parts."""
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()
