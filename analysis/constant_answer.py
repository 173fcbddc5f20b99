"""Which trials are no better than the constant answer, the reference `majority`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from analysis.aggregate import AVERAGE_COLUMN, finished, row_of, value
from analysis.description import Root, Study, study
from analysis.frames import matrix_of, table_of
from cfsweep.errors import few
from cfsweep.results.imbalance import blind_note
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL
from cfsweep.texts import held_against, not_above, note_on_tasks, score_text


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


def tasks_behind(root: Root, trial: int, added: Sequence[int]) -> str | None:
    """Names the tasks on which `trial` is no better at the end than the constant answer (in class-il than that is on
    average, see `held_against`), on validation data and as the mean over the seeds that are not being `added`. None
    without any, or where the study lacks that reference."""
    about, rows = study(root), table_of(root, "accuracy")
    rows = rows[~rows["seed"].isin(added)]
    if not {trial, MAJORITY_TRIAL} <= set(rows["trial"]):
        return None
    own, constant = (matrix_of(rows, n, score=about.score)[-1].tolist() for n in (trial, MAJORITY_TRIAL))
    return note_on_tasks(own, held_against(constant, about.scenario), about.tasks)


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
