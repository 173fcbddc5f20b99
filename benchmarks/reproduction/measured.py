"""What the records say of one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.reproduction.model import Matrix, Quantity
from benchmarks.reproduction.records import VALIDATION
from benchmarks.reproduction.stages import MEASURE, SEARCH
from benchmarks.reproduction.verdicts import MISSING, BySeed

NO_RUN = "no run of it went all the way"
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """A trial of a search: its settings, and means over its seeds on validation data, in [0, 1]."""

    trial: int
    setting: dict[str, Any]
    average_accuracy: float
    stability: float
    plasticity: float
    chosen: bool


@dataclass(frozen=True)
class Measured:
    """The accuracy matrices of a row, one (T, T) per seed, and what it took.

    `chosen` are the values that its search chose. `stored_bytes` is the mean over the seeds. `images` are the numbers
    of examples to train on, to validate on and to test on, over all tasks.
    """

    matrices: Mapping[int, Matrix]
    chosen: dict[str, Any]
    stored_bytes: float
    images: tuple[int, int, int]

    def of(self, quantity: Quantity) -> BySeed:
        """One quantity, by seed."""
        return {seed: quantity.of(matrix) for seed, matrix in self.matrices.items()}


@dataclass(frozen=True)
class Found:
    """All that the records hold of one row: the measurement, or why there is none, the finished trials of its search,
    the settings of those that did not finish with every seed, and the seconds that training took in either stage."""

    measured: Measured | str
    tried: tuple[Tried, ...]
    failed: tuple[dict[str, Any], ...]
    search_s: float
    measure_s: float


NOTHING = Found(MISSING, (), (), 0.0, 0.0)
Results = Mapping[str, Found]


def results_of(records: pa.Table) -> dict[str, Found]:
    """By the rows' keys, what the records hold of them; rows without any are left out."""
    by_row: dict[str, list[Record]] = {}
    for record in records.to_pylist():
        by_row.setdefault(record["row"], []).append(record)
    return {key: _found(rows) for key, rows in by_row.items()}


def _found(rows: Sequence[Record]) -> Found:
    search = [row for row in rows if row["stage"] == SEARCH]
    measure = [row for row in rows if row["stage"] == MEASURE]
    return Found(_measured(search, measure), *_tried(search), _seconds(search), _seconds(measure))


def _seconds(rows: Sequence[Record]) -> float:
    return float(sum(row["train_s"] or 0.0 for row in rows))


def _measured(search: Sequence[Record], measure: Sequence[Record]) -> Measured | str:
    own = [row for row in measure if row["test_accuracy"] is not None]
    if not own:
        return NO_RUN if measure or (search and not any(row["chosen"] for row in search)) else MISSING
    n = round(len(own[0]["test_accuracy"]) ** 0.5)
    return Measured(
        {row["seed"]: np.array(row["test_accuracy"]).reshape(n, n) for row in own},
        json.loads(own[0]["setting"]),
        float(np.mean([row["stored_bytes"] for row in own])),
        (own[0]["n_train"], own[0]["n_validation"], own[0]["n_test"]),
    )


def _tried(search: Sequence[Record]) -> tuple[tuple[Tried, ...], tuple[dict[str, Any], ...]]:
    """The trials that finished with every seed, and the settings of the others."""
    by_trial: dict[int, list[Record]] = {}
    for row in search:
        if row["trial"] >= 0:
            by_trial.setdefault(row["trial"], []).append(row)
    done, failed = [], []
    for trial, rows in sorted(by_trial.items()):
        setting = json.loads(rows[0]["setting"])
        if any(row["state"] != "done" for row in rows):
            failed.append(setting)
            continue
        means = {name: float(np.mean([row[f"val_{name}"] for row in rows])) for name in VALIDATION}
        done.append(Tried(trial, setting, chosen=rows[0]["chosen"], **means))
    return tuple(done), tuple(failed)
