"""Two models' answers to the same examples: what was right, one pair for each example; or a score of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairedAnswers:
    """Which of the n test examples of a task two models answer rightly.

    `champion` and `candidate` are (n,) bool, of the same examples in the same order. `champion` is None where it cannot
    answer them. `is_earlier`: the champion has learned this task. `constant` is the accuracy of the constant answer
    that the candidate is held against (`cfsweep.texts.held_against`), None where it is not known.
    """

    name: str
    champion: NDArray[np.bool_] | None
    candidate: NDArray[np.bool_]
    is_earlier: bool
    constant: float | None = None

    @property
    def counts(self) -> tuple[int, int, int, int] | None:
        """How many examples both answer rightly, the champion alone, the candidate alone, neither.

        >>> right = np.array([True, True, True, False]), np.array([True, False, True, False])
        >>> PairedAnswers("cats", *right, is_earlier=True).counts
        (2, 1, 0, 1)
        """
        if self.champion is None:
            return None
        one, two = self.champion, self.candidate
        pairs = (one & two, one & ~two, ~one & two, ~one & ~two)
        both, champion, candidate, neither = (int(which.sum()) for which in pairs)
        return both, champion, candidate, neither


@dataclass(frozen=True)
class PairedScores:
    """How two models score on the n test examples of a task, by a score that is no mean over examples.

    `of(examples)` gives (champion, candidate) on `examples` (m,) of these, numbers from 0 to n - 1, which may come
    several times; NaN where the score has no value on them, and for the champion where it cannot answer. `is_earlier`:
    the champion has learned this task. `constant` is the score of the constant answer that the candidate is
    held against, None where it is not known.
    """

    name: str
    n_examples: int
    of: Callable[[NDArray[np.int64]], tuple[float, float]]
    is_earlier: bool
    constant: float | None = None
