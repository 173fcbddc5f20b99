"""Which seeds count while a study is given more of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.aggregate import finished
from analysis.seeds import being_added, counted, mean_over_seeds, notes_on_seeds
from tests.analysis.folder import LATER, Folder, half_grown, matrix_for

MUCH_LATER = LATER + timedelta(days=1)


def loaded(folder: Folder) -> pd.DataFrame:
    return analysis.load(folder.write())


def test_seeds_count_once_every_trial_has_them(tmp_path: Path) -> None:
    folder = half_grown(tmp_path)
    runs = loaded(folder)
    assert being_added(runs) == [1, 2]
    assert set(counted(runs)["seed"]) == {0}
    assert notes_on_seeds(runs) == ["Seeds being added, left out until every trial has them: 1, 2."]
    for trial in (2, -3, -2):
        assert being_added(loaded(folder)) == [1, 2]
        folder.run(trial, 1, matrix_for(0.6, 0.9), started_at=LATER)
    runs = loaded(folder)
    assert being_added(runs) == [2]
    assert analysis.trials(runs)["state"].tolist() == ["done"] * 6
    for trial in (1, 2, -1, -2, -3):
        folder.run(trial, 2, matrix_for(0.6, 0.9), started_at=LATER)
    runs = loaded(folder)
    assert (being_added(runs), notes_on_seeds(runs), len(counted(runs))) == ([], [], 18)


def test_all_trials_are_ranked_by_the_seeds_that_they_share(tmp_path: Path) -> None:
    runs = loaded(half_grown(tmp_path))
    table = analysis.trials(runs).set_index("trial")
    assert table["state"].tolist() == ["done"] * 6
    assert table["n_seeds"].tolist() == [1] * 6
    assert table.loc[[0, 1, 2], "val_stability"].tolist() == [0.7, 0.8, 0.6]
    assert table["val_stability_sd"].isna().all()
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert (len(found.table), found.members["trial"].tolist(), found.n_seeds) == (3, [1], 1)
    assert found.hypervolume == pytest.approx(0.8 * 0.9)
    assert found.notes[0] == "Seeds being added, left out until every trial has them: 1, 2."
    assert analysis.gate(tmp_path, min_stability=0.79) == [
        "trial 1 (highest average validation score): stability 0.8000 >= 0.79 (not corrected for the choice among "
        "3, as 1 seed(s) tell nothing of luck; `cfsweep resume DIR --seeds 3` does)"
    ]


def test_intervals_are_of_the_seeds_that_count(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, stability in enumerate((0.6, 0.5)):
        for seed in (0, 1, 2):
            folder.run(trial, seed, matrix_for(stability, 0.9))
    folder.run(1, 3, matrix_for(1.0, 0.9), started_at=LATER)
    runs = loaded(folder)
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert found.table["front_share"].tolist() == [1.0, 0.0]
    assert found.corrected_hypervolume is not None
    assert found.corrected_hypervolume.interval == pytest.approx((0.6 * 0.9, 0.6 * 0.9))


def test_trials_under_way_are_incomplete_and_hold_up_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, seed in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 1)):
        folder.run(trial, seed, matrix_for(0.5, 0.6))
    folder.run(3, 0, matrix_for(0.9, 0.9), started_at=LATER)
    runs = loaded(folder)
    assert being_added(runs) == []
    assert analysis.trials(runs)["state"].tolist() == ["done", "done", "incomplete", "incomplete"]


def test_trials_under_way_after_seeds_were_added_hold_up_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial in (0, 1):
        folder.run(trial, 0, matrix_for(0.5, 0.6))
        folder.run(trial, 1, matrix_for(0.5, 0.6), started_at=LATER)
    folder.run(2, 0, matrix_for(0.9, 0.9), started_at=MUCH_LATER)
    runs = loaded(folder)
    assert being_added(runs) == []
    assert analysis.trials(runs)["state"].tolist() == ["done", "done", "incomplete"]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_what_failed_or_was_stopped_is_not_waited_for(tmp_path: Path, state: str) -> None:
    folder = Folder(tmp_path)
    for trial in (0, 1):
        folder.run(trial, 0, matrix_for(0.5, 0.6))
        folder.run(trial, 1, matrix_for(0.7, 0.6), started_at=LATER)
    folder.run(2, 0, matrix_for(0.9, 0.9)[:1], state=state)
    table = analysis.trials(loaded(folder))
    assert table["state"].tolist() == ["done", "done", state]
    assert table["val_stability"].tolist()[:2] == pytest.approx([0.6, 0.6])


def test_a_run_that_fails_with_an_added_seed_counts_when_the_seed_does(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial in (0, 1):
        folder.run(trial, 0, matrix_for(0.5, 0.6))
    folder.run(0, 1, [], state="failed", failure="out of memory", started_at=LATER)
    assert finished(analysis.trials(loaded(folder)))["trial"].tolist() == [0, 1]
    folder.run(1, 1, matrix_for(0.5, 0.6), started_at=LATER)
    assert analysis.trials(loaded(folder))["state"].tolist() == ["failed", "done"]


def test_nothing_is_added_to_a_study_without_runs(tmp_path: Path) -> None:
    assert being_added(loaded(Folder(tmp_path))) == []


def test_a_mean_needs_every_seed() -> None:
    values = pd.DataFrame({"a": [0.2, 0.4, 0.5, float("nan")], "b": [1.0, 3.0, 5.0, 7.0]})
    mean = mean_over_seeds(values, pd.Series([0, 0, 1, 1]))
    assert mean["a"].tolist() == pytest.approx([0.3, float("nan")], nan_ok=True)
    assert mean["b"].tolist() == [2.0, 6.0]
