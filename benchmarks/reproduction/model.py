"""What a table is made of: rows that are studies, quantities measured in them, and what was claimed of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cfsweep.config import Searched, StudyConfig
from cfsweep.hypers import Value
from cfsweep.metrics import backward_transfer

Matrix = NDArray[np.float64]
Sense = Literal["about", "below", "above", "exactly"]
Group = Literal["main", "as published", "experiment"]
TOLERANCE = 3.0  # points within which a mean agrees with a published one
SDS = 2.0  # or so many published standard deviations, if that is more


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
    """A reason for a difference, written down before it is measured: words without numbers, the rows (`table/row`) that
    are to show it, and what they must show for it to count, in the quantity of the same name.

    `agrees`: the mean of each of them meets the claim. `farther`: each of them lies beyond the row that is to be
    explained, seen from the claim, by more than seeds explain. `surpassed`: each of them meets the claim, acts where
    the source's did, and the row that is to be explained lies above it by more than seeds explain
    (`verdicts.explains`).
    """

    text: str
    see: tuple[str, ...]
    shows: Literal["agrees", "farther", "surpassed"]


@dataclass(frozen=True)
class Quantity:
    """One number of a run: its name, how it follows from the test accuracies `R[t, i]` (T, T), what was claimed."""

    name: str
    of: Callable[[Matrix], float]
    claim: Claim | None = None
    whys: tuple[Why, ...] = ()


@dataclass(frozen=True)
class Budget:
    """What every search of a table may spend: so many trials, each with so many seeds."""

    trials: int = 10
    seeds: int = 2


@dataclass(frozen=True)
class Row:
    """A method in one scenario, and what is measured of it.

    Where its study searches something, there are two stages: the search, which validation data decides, and then the
    chosen setting, measured with more seeds. `setting` tells what is fixed. `naive` is the name of the row of the same
    table without a remedy, which this one must differ from; None in that row itself. `trial` is the trial that is
    measured; None stands for the only one there is. `most_seeds` bounds the seeds where each is dear. `as published`
    rows have the source's own strength, an `experiment` is there to explain others. `trace` asks for the whole accuracy
    matrix, `front` for the trials of the search that none dominates.
    """

    name: str
    method: str
    setting: str
    study: StudyConfig
    quantities: tuple[Quantity, ...]
    naive: str | None = None
    group: Group = "main"
    trial: int | None = None
    most_seeds: int | None = None
    trace: bool = False
    front: bool = False

    @property
    def searched(self) -> Mapping[str, Searched]:
        """What is searched, by its name; nothing where the method has no strength."""
        return self.study.space.search

    def seeds_of(self, seeds: int) -> int:
        """With how many seeds it is measured where the main rows have `seeds`: half of them, rounded up, elsewhere."""
        wanted = seeds if self.group == "main" else -(-seeds // 2)
        return wanted if self.most_seeds is None else min(wanted, self.most_seeds)

    def search_study(self, budget: Budget) -> StudyConfig:
        """The study of the first stage."""
        return self.study.model_copy(update={"trials": budget.trials, "seeds": budget.seeds})

    def measured_study(self, seeds: int, chosen: Mapping[str, Value]) -> StudyConfig:
        """The study of the last stage, which is scored by test data, too, with the `chosen` value of each
        hyperparameter that was searched; in two packs, so that two processors share it.

        >>> from cfsweep.config import Range, Space
        >>> space = Space(ingredients=("ewc",), search={"ewc_lambda": Range(low=1.0, high=100.0)})
        >>> row = Row("ewc", "EWC", "", StudyConfig(space=space), ())
        >>> study = row.measured_study(5, {"ewc_lambda": 10.0})
        >>> study.space.fixed, study.space.search, study.trials, study.seeds, study.pack_runs
        ({'ewc_lambda': 10.0}, {}, 1, 5, 3)
        """
        n = self.seeds_of(seeds)
        space = self.study.space.model_copy(update={"search": {}, "fixed": {**self.study.space.fixed, **chosen}})
        changed = {"space": space, "purpose": "confirm", "trials": 1, "seeds": n, "pack_runs": -(-n // 2)}
        return self.study.model_copy(update=changed)


@dataclass(frozen=True)
class Table:
    """A published table: its source, how many training images the data sets were published with, the facts that a
    reader needs to judge the comparison, its rows, the budget of their searches. `side_by_side` shows one line per
    method, and what it stores and reads."""

    name: str
    title: str
    source: str
    published_images: int
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    budget: Budget = Budget()
    side_by_side: bool = False

    def key(self, row: Row | str) -> str:
        """The row's folder below the output folder, and its name everywhere."""
        return f"{self.name}/{row if isinstance(row, str) else row.name}"


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
