"""Two models' answers to the same examples: what was right, one pair for each example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairedAnswers:
    """Which of the n test examples of a task two models answer rightly.

    `champion` and `candidate` are (n,) bool, of the same examples in the same order. `champion` is None where it cannot
    answer them. `is_earlier`: the champion has learned this task.
    """

    name: str
    champion: NDArray[np.bool_] | None
    candidate: NDArray[np.bool_]
    is_earlier: bool

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
