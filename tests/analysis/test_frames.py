"""What is read is what was written, null stays null."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.comparison import compare
from analysis.study_gate import gate
from cfsweep.errors import InputError
from cfsweep.results.schema import BUFFERS_SCHEMA
from cfsweep.results.writer import write_part
from tests.analysis.folder import Folder, matrix_for


def test_one_row_per_run_sorted(known: Path) -> None:
    runs = analysis.load(known)
    assert len(runs) == 26
    assert runs[["trial", "seed"]].apply(tuple, axis=1).is_monotonic_increasing
    row = runs[(runs["trial"] == 2) & (runs["seed"] == 2)].iloc[0]
    assert row["val_stability"] == pytest.approx(0.81)
    assert row["val_average_score"] == pytest.approx((2 * 0.81 + 0.91) / 3)
    assert row["hp_ewc_lambda"] == 100.0


def test_missing_is_null_even_if_a_nan_was_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6), val_plasticity=float("nan"))
    folder.run(1, 0, matrix_for(0.5, 0.6)[:1], state="stopped")
    runs = analysis.load(folder.write())
    assert runs["val_plasticity"].tolist() == [pd.NA, pd.NA]
    assert runs.loc[0, "val_stability"] == pytest.approx(0.5)


def test_a_study_without_runs_has_an_empty_table_with_all_columns(tmp_path: Path) -> None:
    runs = analysis.load(Folder(tmp_path).write())
    assert len(runs) == 0
    assert {"trial", "hp_ewc_lambda", "objective_stability", "val_average_score", "failure"} <= set(runs.columns)
    assert len(analysis.trials(runs)) == 0


def test_the_score_matrix_has_the_untrained_row_first(known: Path) -> None:
    matrix = analysis.score_matrix(known, trial=2, seed=0)
    assert matrix == pytest.approx(np.array([[0.5] * 3, *matrix_for(0.79, 0.89)]))
    mean = analysis.score_matrix(known, trial=2)
    assert mean[1:] == pytest.approx(np.array(matrix_for(0.80, 0.90)))
    assert mean.shape == (4, 3)


def test_cells_of_a_stopped_run_are_nan_and_unknown_trials_are_refused(known: Path) -> None:
    assert np.isnan(analysis.score_matrix(known, trial=5)[2:]).all()
    with pytest.raises(InputError, match="no scores of trial 99 "):
        analysis.score_matrix(known, trial=99)
    with pytest.raises(InputError, match="trial 2 with seed 9"):
        analysis.score_matrix(known, trial=2, seed=9)


def test_a_uri_is_read_like_a_folder(known: Path) -> None:
    pd.testing.assert_frame_equal(analysis.load(known.as_uri()), analysis.load(known))


@pytest.mark.parametrize("root", ["foo://bar/x", "nowhere", "s3:///"])
def test_what_is_no_results_folder_is_refused_in_one_line(root: str) -> None:
    with pytest.raises(InputError) as caught:
        analysis.load(root)
    assert root in str(caught.value)


def test_curves(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert analysis.curves(folder.write()).empty
    folder.curve(0, 0)
    assert len(analysis.curves(folder.write())) == 5 * (1 + 2 + 3)


def test_buffers(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    columns = ["trial", "seed", "ingredient", "after_task", "task", "class", "n_examples"]
    none = analysis.buffers(folder.write())  # as written before there was such a table
    assert none.empty
    assert none.columns.drop(["study_id", "attempt"]).tolist() == columns
    rows = [(0, 0, "replay", 0, 0, 1, 5), (0, 0, "replay", 1, 0, 1, 3), (0, 0, "replay", 1, 1, 3, 2)]
    for attempt, share in ((0, rows[:1]), (1, rows)):
        ids = {"study_id": folder.study_id, "attempt": attempt}
        part = [ids | dict(zip(columns, row, strict=True)) for row in share]
        write_part(folder.root, "buffers", f"part-{attempt}", part, BUFFERS_SCHEMA)
    read = analysis.buffers(folder.root)
    assert list(read[columns].itertuples(index=False, name=None)) == rows
    assert set(read["attempt"]) == {1}


def test_runs_of_another_study_are_no_trials_of_this_one(tmp_path: Path) -> None:
    """Parts of two folders in one, as a careless copy leaves them: their seeds are no pairs."""
    for name, study_id in (("one", "0123456789ab"), ("two", "ba9876543210")):
        folder = Folder(tmp_path / name, study_id=study_id)
        folder.run(len(name), 0, matrix_for(0.5, 0.9))
        folder.write()
    (tmp_path / "two" / "runs" / "part-0.parquet").rename(tmp_path / "one" / "runs" / "part-1.parquet")
    said = "it holds rows of study ba9876543210, but study.yaml is of 0123456789ab. Move the parts of each study into"
    for use in (
        analysis.load,
        lambda root: gate(root, min_stability=0.1),
        lambda root: compare(root, first=3, second=3),
    ):
        with pytest.raises(InputError, match=said):
            use(tmp_path / "one")
