"""Trials that are named beforehand, in place of those that an optimiser proposes: an `Asker`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfsweep.hypers import Value
from cfsweep.sweeping.asker import Proposal


class ListedAsker:
    """Proposes `trials`, by number, all at once; which of them have ended, the rows of their runs say."""

    best = None
    pending = False

    def __init__(self, trials: Mapping[int, Mapping[str, Value]]) -> None:
        self.trials = {number: dict(trials[number]) for number in sorted(trials)}
        self.n_ended = dict.fromkeys(("done", "stopped", "failed"), 0)

    @property
    def n_asked(self) -> int:
        return len(self.trials)

    @property
    def numbers(self) -> Sequence[int]:
        return list(self.trials)

    def running(self) -> list[Proposal]:
        return [Proposal(number, dict(values)) for number, values in self.trials.items()]

    def ended(self, numbers: Sequence[int]) -> list[Proposal]:
        """
        Raises:
            ValueError: one of them: all are said to be running.
        """
        if numbers:
            raise ValueError(f"trials {list(numbers)} have not ended")
        return []

    def ask(self, n: int) -> list[Proposal]:
        """None: all were proposed as running."""
        return []

    def is_below_median(self, number: int, rung: int, value: float) -> bool:
        return False

    def tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        self.n_ended[state] += 1

    def flush(self) -> None:
        """Nothing is kept in files."""

    def release(self) -> None:
        """Nothing is kept in files."""
