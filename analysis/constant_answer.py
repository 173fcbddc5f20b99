"""Which trials are no better than the constant answer, the reference `majority`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import AVERAGE_COLUMN, finished, row_of, value
from analysis.description import Study
from cfsweep.errors import few
from cfsweep.results.imbalance import blind_note
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL
from cfsweep.texts import score_text

Matrix = NDArray[np.float64]
_ROUNDING = 1e-9  # the mean of equal numbers may differ from them in the last bits


def beaten_by_majority(trials: pd.DataFrame, trial: int) -> str | None:
    """Why `trial` has learned nothing that counts: its average score, mean over seeds, is no higher than that of the
    constant answer over the same seeds. None where it is higher; and where the study lacks that reference, or the trial
    has not finished.

    `trials` is from `analysis.trials`, in which all that has finished has the same seeds.

    >>> table = pd.DataFrame({"trial": [-1000, 0, 1], "state": "done", "val_average_score": [0.92, 0.92, 0.921]})
    >>> beaten_by_majority(table, 0)
    'does not beat the constant answer (majority) in average_score (0.9200 against 0.9200)'
    >>> beaten_by_majority(table, 1) is None
    True
    """
    constant, own = (value(row_of(trials, number), AVERAGE_COLUMN) for number in (MAJORITY_TRIAL, trial))
    if own is None or constant is None or not not_above(own, constant):
        return None
    both = f"{score_text(own)} against {score_text(constant)}"
    return f"does not beat the constant answer ({MAJORITY}) in average_score ({both})"


def note_on_tasks(own: Matrix, constant: Matrix, tasks: Sequence[str]) -> str | None:
    """Names the tasks that a trial answers no better at the end than the constant answer does, given their validation
    scores (T+1, T), which averages hide. None where there is none; a task without a score does not count.

    >>> own, constant = np.array([[0.5, 0.5], [0.9, 0.5], [0.9, 0.4]]), np.full((3, 2), 0.5)
    >>> note_on_tasks(own, constant, ["May", "June"])
    'At the end it is no better than the constant answer (majority) on 1 of 2 tasks: `June` (0.4000 against 0.5000).'
    """
    pairs = [(float(a), float(b)) for a, b in zip(own[-1], constant[-1], strict=True)]
    known = [(name, a, b) for name, (a, b) in zip(tasks, pairs, strict=True) if not (math.isnan(a) or math.isnan(b))]
    behind = [f"`{name}` ({score_text(a)} against {score_text(b)})" for name, a, b in known if not_above(a, b)]
    if not behind:
        return None
    n = f"{len(behind)} of {len(known)} tasks"
    return f"At the end it is no better than the constant answer ({MAJORITY}) on {n}: {few(behind)}."


def not_above(own: float | None, constant: float | None) -> bool:
    """Whether a trial's average score is no higher than that of the constant answer; False where one is not known.

    >>> not_above(0.92, 0.92), not_above(0.921, 0.92), not_above(0.5, None)
    (True, False, False)
    """
    return own is not None and constant is not None and own <= constant + _ROUNDING


def all_beaten_by_majority(trials: pd.DataFrame) -> list[int]:
    """The finished trials that do not beat the constant answer, see `beaten_by_majority`."""
    numbers = [int(trial) for trial in finished(trials)["trial"]]
    return [trial for trial in numbers if beaten_by_majority(trials, trial) is not None]


def notes_on_majority(trials: pd.DataFrame, on_front: Collection[int]) -> list[str]:
    """Says which of the trials `on_front` do not beat the constant answer, or that no finished trial does."""
    beaten = all_beaten_by_majority(trials)
    on_it = [trial for trial in beaten if trial in on_front]
    if not on_it:
        return []
    constant = value(row_of(trials, MAJORITY_TRIAL), AVERAGE_COLUMN)
    said = "" if constant is None else f", {score_text(constant, 3)} in average score"
    what = f"the constant answer ({MAJORITY}{said})"
    if len(beaten) == (n := len(finished(trials))):
        return [f"No trial beats {what}: {n} finished, and none has learned anything that it can show."]
    does = "trial on the front does" if len(on_it) == 1 else "trials on the front do"
    return [f"{len(on_it)} {does} not beat {what}: {few(on_it)}."]


def notes_on_imbalance(about: Study) -> list[str]:
    """Says in which tasks accuracy is blind, as far as `study.yaml` knows (older ones do not), where it is what
    scores."""
    if about.score != "accuracy":
        return []
    note = blind_note(about.tasks, about.raw.get("majority") or [0.0] * len(about.tasks))
    return [f"{note[0].upper()}{note[1:]}"] if note else []
