"""The trials among which one is chosen, and what their scores say once the luck of the chosen is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.aggregate import by_seed, column_of, finished, trials
from analysis.noise import Floats
from analysis.seeds import counted
from analysis.uncertainty import Side, corrected_means


@dataclass(frozen=True)
class Among:
    """The finished trials that have a metric, each configuration once, and their `values` (n, n_seeds) of it."""

    trials: list[int]
    values: Floats

    @property
    def n_seeds(self) -> int:
        """How many seeds each of them has."""
        return int(self.values.shape[1])

    @cached_property
    def _means(self) -> dict[int, float]:
        found = corrected_means(self.values) if self.trials else None
        return {} if found is None else dict(zip(self.trials, found.tolist(), strict=True))

    def corrected(self, trial: int) -> float | None:
        """The expected true mean of a trial, in which the best are not flattered; None with fewer than three seeds, or
        for what is none of these trials."""
        return self._means.get(trial)

    def side(self, trial: int) -> Side | None:
        """The trial as one that was chosen among these; None if it is none of them."""
        return Side(self.values, self.trials.index(trial)) if trial in self.trials else None


def among(runs: pd.DataFrame, metric: str, seeds: Sequence[int] | None = None) -> Among:
    """The trials of `runs` (from `analysis.load`) of which one can be chosen, by `metric`, over `seeds`, by default
    those that count.

    Raises:
        InputError: no such metric.
    """
    numbers = finished(trials(runs))["trial"].tolist()
    rows = counted(runs)
    rows = rows if seeds is None else rows[rows["seed"].isin(list(seeds))]
    values = by_seed(rows, numbers, [column_of(metric, list(runs.columns))])[..., 0]
    whole = np.flatnonzero(~np.isnan(values).any(1))
    return Among([numbers[place] for place in whole], values[whole])
