"""Which references stand for naive and joint, where they were trained with several settings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from analysis.aggregate import references
from analysis.choice import opened_by
from analysis.confirmation import to_confirm
from analysis.formatting import on_same_examples
from analysis.references import best_reference, n_settings
from analysis.reporting.page import report
from analysis.reporting.plane import marks
from analysis.study_gate import gate
from cfsweep.errors import NoAnswerError
from tests.analysis.folder import HYPERS, LATER, Folder, half_grown, matrix_for

SEARCHED = {**HYPERS, "lr": {**HYPERS["lr"], "searched": True, "low": 1e-4, "high": 1e-1}}
GROWN = {(0, 1), (1, 1), (-1, 1), (0, 2)}  # the runs with added seeds of `half_grown`
LRS = {-1: 1e-3, -2: 1e-3, -3: 1e-2, -4: 1e-2, -5: 1e-1, -6: 1e-1}


def folder(root: Path, **stabilities: float) -> Path:
    """Trials 0 and 1 at stability .7 and .75; naive at lr .001, .01 and .1 with .6, .72, .5, joint with .9, .8, .95.
    Three seeds."""
    made = Folder(root, hypers=SEARCHED)
    for trial, stability in {0: 0.7, 1: 0.75, -1: 0.6, -3: 0.72, -5: 0.5, -2: 0.9, -4: 0.8, -6: 0.95}.items():
        for seed in range(3):
            settings = {"lr": LRS.get(trial, 1e-3)}
            made.run(trial, seed, matrix_for(stability + (0, 0.01, 0.005)[seed], 0.9), settings=settings)
    return made.write()


def test_the_best_stands_for_its_method_in_runs_and_in_trials(tmp_path: Path) -> None:
    runs = analysis.load(folder(tmp_path))
    table = analysis.trials(runs)
    for rows in (runs, table):
        assert (best_reference(rows, "naive"), best_reference(rows, "joint")) == (-3, -6)
        assert n_settings(rows) == 3
    assert references(table)["trial"].tolist() == [-6, -3]


def rows(*given: tuple[int, str, float | None]) -> pd.DataFrame:
    """Runs whose seeds count from 0 in each trial, and which all started at once."""
    table = pd.DataFrame(given, columns=["trial", "state", "val_average_score"])
    seed, started_at = table.groupby("trial").cumcount(), datetime(2026, 1, 1, tzinfo=UTC)
    return table.assign(seed=seed, started_at=started_at).astype({"val_average_score": "Float64"})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], -1),
        ([(0, "done", 0.9), (-2, "done", 0.9)], -1),
        ([(-1, "done", 0.5), (-3, "done", 0.5)], -1),
        ([(-1, "done", 0.5), (-3, "failed", None), (-5, "done", 0.6)], -5),
        ([(-1, "failed", None), (-3, "failed", None)], -1),
        ([(-1, "failed", None), (-3, "done", 0.2)], -3),
        ([(-1, "done", 0.5), (-1, "done", 0.7), (-3, "done", 0.9)], -1),  # which lacks a seed
        ([(-1, "done", 0.5), (-1, "done", 0.7), (-3, "done", 0.9), (-3, "failed", None)], -1),
        ([(-1, "done", 0.5), (-1, "done", 0.7), (-3, "done", 0.4), (-3, "done", 0.9)], -3),
    ],
)
def test_only_those_that_finished_with_all_seeds_count_and_the_default_wins_a_tie(given: Any, found: int) -> None:
    assert best_reference(rows(*given), "naive") == found


def test_a_seed_that_is_being_added_helps_no_reference_and_runs_and_trials_agree(tmp_path: Path) -> None:
    made = half_grown(tmp_path)
    runs = analysis.load(made.write())
    for table in (runs, analysis.trials(runs)):
        assert best_reference(table, "naive") == -3, ".6 against .5 with seed 0; -1 alone has seed 1, with 1."
        assert best_reference(table, "joint") == -2
    with pytest.raises(NoAnswerError, match=re.escape(f"({2 * (0.8 - 0.6) / 3:+.4f}, but 1 seed(s) tell nothing")):
        gate(tmp_path, beats="naive")
    others = [(trial, seed) for seed in (1, 2) for trial in (-3, -2, -1, 0, 1, 2) if (trial, seed) not in GROWN]
    for trial, seed in others:
        lr = {"lr": 0.01 if trial == -3 else 0.001}
        made.run(trial, seed, matrix_for(0.9 if trial == -1 else 0.2, 0.9), settings=lr, started_at=LATER)
    runs = analysis.load(made.write())
    for table in (runs, analysis.trials(runs)):
        assert best_reference(table, "naive") == -1, "all three seeds count now: .8 against 1/3"


def test_all_that_is_shown_is_about_the_best(tmp_path: Path) -> None:
    root = folder(tmp_path)
    runs = analysis.load(root)
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert [(mark.name, round(mark.x, 3)) for mark in marks(found)] == [
        ("naive", 0.725),
        ("joint", 0.955),
        ("default", 0.705),
    ]
    said = "the best of 3 settings, by average validation score: joint with lr=0.1; naive with lr=0.01."
    assert f"Each reference is {said}" in found.notes
    of_joint = runs.loc[runs["trial"] == -6, "val_plasticity"].mean()
    gaps = runs["val_intransigence"] + runs["val_plasticity"]
    assert gaps.tolist() == pytest.approx([of_joint] * len(runs))
    page = report(root).read_text()
    assert said in page
    assert gate(root, beats="naive") == [
        "trial 1 (highest average validation score): beats naive in average_score (+0.0200, 95 % interval "
        "+0.0200 to +0.0200, corrected for the choice among 2; raw +0.0200)",
        *on_same_examples(1),
    ]


def test_a_selection_has_those_confirmed_that_were_best_then(tmp_path: Path) -> None:
    root = folder(tmp_path)
    record = analysis.select(root)
    assert record["references"] == {"naive": -3, "joint": -6}
    assert opened_by(record) == [1, 0, -3, -6]
    assert to_confirm(root, "selected") == ([1, 0], [-3, -6])


def test_a_remedy_that_wins_by_the_learning_rate_alone_does_not_beat_naive(tmp_path: Path) -> None:
    made = Folder(tmp_path, hypers=SEARCHED)
    for trial, stability in {0: 0.6, 1: 0.75, -1: 0.6, -3: 0.76}.items():
        for seed in range(2):
            made.run(trial, seed, matrix_for(stability, 0.9), settings={"lr": LRS.get(trial, 1e-2)})
    with pytest.raises(NoAnswerError, match="does not beat naive"):
        gate(made.write(), beats="naive")
