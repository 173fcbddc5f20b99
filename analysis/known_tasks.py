"""What is left of the tasks that the first weights know (`stream.learned`): how far the source fell."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import pandas as pd

from analysis.aggregate import best, trials
from analysis.description import Root, Study, study
from analysis.formatting import trial_name
from analysis.frames import load, matrix_of, table_of
from analysis.references import best_reference
from analysis.seeds import being_added
from cfsweep.errors import few
from cfsweep.results.schema import NAIVE, reference_method
from cfsweep.texts import score_text


def known_on_validation(root: Root, trial: int | None = None) -> str | None:
    """`known_note` of a trial, by default the best one in average validation score, and of `naive`, on validation data
    and over the seeds that are not being added. None where the study knows no task, or no such run has come so far."""
    about = study(root)
    if not about.n_learned:
        return None
    runs, rows = load(root), table_of(root, "accuracy")
    row = best(trials(runs)) if trial is None else None
    shown = [trial] if trial is not None else [] if row is None else [int(row["trial"])]
    rows = rows[~rows["seed"].isin(being_added(runs))]
    found = known_note(about, rows, "validation", [*shown, best_reference(runs, NAIVE)])
    if found is None:
        return None
    # No file of weights says what these were trained on.
    return (
        f"{found} Where the source was trained on the data that these are cut from, the first number is too good; test "
        "data tell."
    )


def known_note(about: Study, rows: pd.DataFrame, part: str, shown: Sequence[int]) -> str | None:
    """The score on each task that is known from the start, by the first weights and at the end of the trials that are
    `shown`, mean over their seeds in `rows`, which are those of `accuracy/` or `test/`; `part` says of which data.

    The first weights answer as they do once the last known task has passed: in class-il among the classes of these.
    It is what the last trial that is shown, `naive`, has there. None where no trial has come to its end.
    """
    there = [trial for trial in shown if (rows["trial"] == trial).any()]
    if not about.n_learned or not there:
        return None
    matrices = {_called(trial): matrix_of(rows, trial, score=about.score) for trial in there}
    before = matrices[_called(there[-1])][about.n_learned]
    found = []
    for number, name in enumerate(about.tasks[: about.n_learned]):
        ends = {who: float(matrix[-1, number]) for who, matrix in matrices.items()}
        told = [f"{score_text(end, 3)} ({who})" for who, end in ends.items() if not isnan(end)]
        if told and not isnan(before[number]):
            found.append(f"`{name}` from {score_text(float(before[number]), 3)} to {' and '.join(told)}")
    return f"Known from the start, {about.score} on {part} data: {few(found)}." if found else None


def _called(trial: int) -> str:
    return trial_name(trial) if reference_method(trial) else f"trial {trial_name(trial)}"
