"""Trials from runs: hand-computed means, and who is kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.aggregate import best, by_seed, column_of, finished, references
from cfsweep.errors import InputError
from tests.analysis.folder import Folder, matrix_for


def test_mean_and_sample_deviation_over_seeds(known: Path) -> None:
    table = analysis.trials(analysis.load(known)).set_index("trial")
    assert table.loc[2, "val_stability"] == pytest.approx(0.8)
    assert table.loc[2, "val_stability_sd"] == pytest.approx(0.01)
    assert table.loc[2, "n_seeds"] == 3
    assert table.loc[2, "hp_ewc_lambda"] == 100.0
    assert table.loc[2, "train_s"] == pytest.approx(2.2)


def test_states_of_trials(known: Path) -> None:
    table = analysis.trials(analysis.load(known)).set_index("trial")
    assert table["state"].to_dict() == {
        -2: "done", -1: "done", 0: "done", 1: "done", 2: "done", 3: "done", 4: "done", 5: "stopped", 6: "failed",
    }  # fmt: skip
    assert pd.isna(table.loc[5, "val_stability"])
    assert pd.isna(table.loc[6, "val_stability"]), "one seed of two is no mean of the trial"
    assert table.loc[6, "failure"] == "loss became NaN\nat step 17"
    assert pd.isna(table.loc[5, "failure"])


def test_finished_and_references(known: Path) -> None:
    table = analysis.trials(analysis.load(known))
    assert finished(table)["trial"].tolist() == [0, 1, 2, 3, 4]
    assert references(table)["trial"].tolist() == [-2, -1]


def test_a_trial_that_lacks_a_seed_is_incomplete(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6))
    folder.run(0, 1, matrix_for(0.5, 0.6))
    folder.run(1, 1, matrix_for(0.9, 0.9))
    table = analysis.trials(analysis.load(folder.write()))
    assert table["state"].tolist() == ["done", "incomplete"]
    assert best(table)["trial"] == 0


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6))
    table = analysis.trials(analysis.load(folder.write()))
    assert pd.isna(table.loc[0, "val_stability_sd"])
    assert table.loc[0, "val_stability"] == 0.5


def test_best_takes_the_lowest_number_among_equals(known: Path) -> None:
    assert best(analysis.trials(analysis.load(known)))["trial"] == 2


def test_values_by_seed_are_paired(known: Path) -> None:
    values = by_seed(analysis.load(known), [3, 1], ["val_stability", "val_plasticity"])
    assert values == pytest.approx(
        np.array([[[0.69, 0.89], [0.70, 0.90], [0.71, 0.91]], [[0.49, 0.94], [0.50, 0.95], [0.51, 0.96]]])
    )


def test_unknown_columns_name_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown metric `stabilty`. Known, closest first: stability"):
        column_of("stabilty", ["val_stability", "val_stability_sd", "train_s"])
    assert column_of("train_s", ["train_s"]) == "train_s"
    assert column_of("mixed", ["objective_mixed"]) == "objective_mixed"
