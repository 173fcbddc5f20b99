"""What a row's folder holds: test accuracies of the trial that validation data selects, opened by `analysis`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

import analysis
from analysis.frames import matrix_of
from benchmarks.reproduction.model import Matrix, Quantity
from benchmarks.reproduction.runner import Job, complete
from cfsweep.errors import NoAnswerError
from cfsweep.results.reader import read_study


@dataclass(frozen=True)
class Measured:
    """The accuracy matrices of a row, one (T, T) per seed, and where and when they were measured.

    `train_s` is that of all its runs, `stored_bytes` the mean over the seeds of the trial. `images` are the numbers of
    examples to train on, to validate on and to test on, over all tasks.
    """

    matrices: tuple[Matrix, ...]
    settings: dict[str, object]
    started_at: datetime
    devices: tuple[str, ...]
    versions: dict[str, str]
    train_s: float
    stored_bytes: float
    images: tuple[int, int, int]

    def of(self, quantity: Quantity) -> tuple[float, float | None]:
        """Mean over seeds and standard deviation (null with one seed) of one quantity."""
        values = [quantity.of(matrix) for matrix in self.matrices]
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def measured(job: Job) -> Measured | str:
    """What the job's folder holds, or why there is nothing to report of it.

    Raises:
        InputError: the folder holds another study, or is damaged.
    """
    if not complete(job):
        return "not measured yet"
    try:
        record = analysis.select(job.folder)
    except NoAnswerError:
        return "no run of it went all the way"
    trial = record["trial"] if job.row.trial is None else job.row.trial
    rows, runs = analysis.test_accuracy(job.folder), analysis.load(job.folder)
    own = runs[runs["trial"] == trial]
    study = read_study(job.folder)
    return Measured(
        matrices=tuple(matrix_of(rows, trial, seed)[1:] for seed in sorted(own["seed"])),
        settings=record["settings"],
        started_at=pd.to_datetime(runs["started_at"]).max().to_pydatetime(),
        devices=tuple(sorted(set(runs["device"].dropna()))),
        versions=study["versions"],
        train_s=float(runs["train_s"].sum()),
        stored_bytes=float(own["stored_bytes"].mean()),
        images=(_images(study, "n_train"), _images(study, "n_validation"), _images(study, "n_test")),
    )


def _images(study: Mapping[str, Any], part: str) -> int:
    return sum(task[part] for task in study["tasks"])
