"""What a table is made of: rows that are studies, quantities measured in them, and what was claimed of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import StudyConfig
from cfsweep.metrics import backward_transfer

Matrix = NDArray[np.float64]
Sense = Literal["about", "below", "above", "exactly"]
TOLERANCE = 3.0  # points within which a mean counts as reproduced
SDS = 2.0  # or so many published standard deviations, if that is more
WITHIN, UNEXPLAINED = "within", "differs: not explained"


@dataclass(frozen=True)
class Claim:
    """A published number in percent, its standard deviation where the source gives it, and how it is meant."""

    value: float
    sd: float | None = None
    sense: Sense = "about"

    def holds(self, mean: float) -> bool:
        """Whether a measured mean (percent) agrees.

        >>> Claim(90.0).holds(93.0), Claim(90.0).holds(93.1), Claim(90.0, sd=2.0).holds(93.1)
        (True, False, True)
        >>> Claim(60.0, sd=0.5).holds(62.9), Claim(60.0, sd=2.0).holds(64.1)  # 3 points or 2 sd, whichever is more
        (True, False)
        >>> Claim(98.15).holds(95.15)  # 3.0000000000000142 in floats
        True
        >>> Claim(50.0, sense="below").holds(50.0), Claim(88.0, sense="above").holds(88.1)
        (False, True)
        >>> Claim(0.0, sense="exactly").holds(0.0), Claim(0.0, sense="exactly").holds(0.01)
        (True, False)
        """
        if self.sense == "about":
            return round(abs(mean - self.value), 9) <= max(TOLERANCE, SDS * (self.sd or 0.0))
        if self.sense == "exactly":
            return mean == self.value
        return mean < self.value if self.sense == "below" else mean > self.value


@dataclass(frozen=True)
class Why:
    """Why a number differs: words without numbers, and the rows (`table/row`) whose measurement shows it."""

    text: str
    see: tuple[str, ...]


@dataclass(frozen=True)
class Quantity:
    """One number of a run: its name, how it follows from the test accuracies `R[t, i]` (T, T), what was claimed."""

    name: str
    of: Callable[[Matrix], float]
    claim: Claim | None = None
    why: Why | None = None


@dataclass(frozen=True)
class Row:
    """One study, and what is measured in it.

    `trial` is the trial that is measured; None stands for the one that validation data selects, which is the only one
    there is where nothing is searched. `experiment` marks a row that is there to explain others. `trace` asks for the
    whole accuracy matrix, `front` for the trials on the study's front.
    """

    name: str
    method: str
    setting: str
    study: StudyConfig
    quantities: tuple[Quantity, ...]
    trial: int | None = None
    experiment: bool = False
    trace: bool = False
    front: bool = False

    def study_for(self, seeds: int) -> StudyConfig:
        """The study with so many seeds, in two packs where nothing is searched, so that two processors share it.

        >>> from cfsweep.config import Space
        >>> row = Row("naive", "naive", "", StudyConfig(space=Space()), ())
        >>> study = row.study_for(5)
        >>> study.seeds, study.pack_runs
        (5, 3)
        """
        packs = self.study.pack_runs if self.study.space.search else -(-seeds // 2)
        return self.study.model_copy(update={"seeds": seeds, "pack_runs": packs})


@dataclass(frozen=True)
class Table:
    """A published table: its source, how many training images the data sets were published with, the facts that a
    reader needs to judge the comparison, its rows. `side_by_side` shows one line per method, and what it stores."""

    name: str
    title: str
    source: str
    published_images: int
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    side_by_side: bool = False

    def key(self, row: Row) -> str:
        """The row's folder below the output folder, and its name everywhere."""
        return f"{self.name}/{row.name}"


def verdict(claim: Claim | None, mean: float, why: str | None) -> str:
    """What the report says of a measured mean, given the reason for a difference, if there is one.

    >>> verdict(Claim(90.0), 92.0, None), verdict(Claim(90.0), 80.0, None), verdict(Claim(90.0), 80.0, "less data")
    ('within', 'differs: not explained', 'differs: less data')
    >>> verdict(None, 80.0, "less data")
    'no claim'
    """
    if claim is None:
        return "no claim"
    if claim.holds(mean):
        return WITHIN
    return f"differs: {why}" if why else UNEXPLAINED


def final_average(matrix: Matrix) -> float:
    """Average accuracy on all tasks after the last one, in percent.

    >>> final_average(np.array([[1.0, 0.5], [0.6, 0.8]]))
    70.0
    """
    return 100 * float(matrix[-1].mean())


def accuracy(after: int, of: int) -> Callable[[Matrix], float]:
    """Accuracy on task `of` after task `after`, in percent; -1 is the last task.

    >>> accuracy(after=-1, of=0)(np.array([[1.0, 0.5], [0.5, 0.75]]))
    50.0
    """
    return lambda matrix: 100 * float(matrix[after, of])


def transfer(matrix: Matrix) -> float:
    """Backward transfer in points (`cfsweep.metrics.backward_transfer`).

    >>> transfer(np.array([[1.0, 0.5], [0.25, 0.75]]))
    -75.0
    """
    return 100 * backward_transfer(matrix)


def largest_change(matrix: Matrix) -> float:
    """The most that a task's accuracy moved after the task had ended, in points.

    >>> largest_change(np.array([[1.0, 0.5], [0.75, 0.75]]))
    25.0
    >>> largest_change(np.array([[0.9, 0.5], [0.9, 0.8]]))  # above the diagonal nothing has ended
    0.0
    """
    return 100 * float(np.abs(np.tril(matrix - np.diag(matrix))).max())
