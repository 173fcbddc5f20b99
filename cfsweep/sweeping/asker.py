"""What the sweep asks of whatever proposes trials. `search.OptunaAsker` is one; nothing else knows of Optuna."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from cfsweep.hypers import Value


class Proposal(NamedTuple):
    """A trial to train: its number, a value for each hyperparameter, the last task after which it was compared with
    the others, by an earlier session (0: never), and how it has `ended`, if it has (`done`, `stopped`, `failed`)."""

    number: int
    values: dict[str, Value]
    rung: int = 0
    ended: str = ""


class Asker(Protocol):
    """Proposes trials, and learns how they end.

    What is told counts at once. What it keeps of that in files it writes with `flush`, or, of the ends of trials,
    with `release`, so that a trial has ended there only after its results are written.
    """

    @property
    def n_asked(self) -> int:
        """How many trials were ever proposed, by earlier sessions too."""

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of these, ascending."""

    @property
    def n_ended(self) -> Mapping[str, int]:
        """How many trials are `done`, `stopped` and `failed`, by these names."""

    @property
    def best(self) -> float | None:
        """The largest first objective of a trial that is done; None before there is one."""

    def running(self) -> list[Proposal]:
        """The trials that an earlier session proposed and that have not ended."""

    def ended(self, numbers: Sequence[int]) -> list[Proposal]:
        """The trials with these numbers, all of which have ended."""

    def ask(self, n: int) -> list[Proposal]:
        """The next `n` trials; the first one ever is the library's default settings."""

    def is_below_median(self, number: int, rung: int, value: float) -> bool:
        """Notes the intermediate objective of a trial after task `rung`, and says whether it lies below the median of
        the trials that came as far."""

    def tell(self, number: int, state: str, values: Sequence[float] | None) -> None:
        """A trial has ended: `done` with the values of its objectives, or `stopped` or `failed`."""

    @property
    def pending(self) -> bool:
        """Whether something is not in the files."""

    def flush(self) -> None:
        """Writes all but the ends of trials."""

    def release(self) -> None:
        """Writes all."""
