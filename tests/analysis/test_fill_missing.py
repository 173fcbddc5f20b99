"""Intransigence against the joint reference, and a reason for every metric that is null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import analysis
from analysis.cli import app
from cfsweep.metrics import ALL_METRICS, METRICS, intransigence
from cfsweep.results.schema import runs_schema
from cfsweep.results.writer import write_part
from tests.analysis.folder import HYPERS, Folder, filled, matrix_for

OLD_METRICS = [metric.name for metric in METRICS][:7]


def row(runs: pd.DataFrame, trial: int, seed: int) -> dict[str, Any]:
    (found,) = runs[(runs["trial"] == trial) & (runs["seed"] == seed)].to_dict("records")
    return {str(key): value for key, value in found.items()}


def test_intransigence_is_that_of_the_matrices_with_the_same_seed(known: Path) -> None:
    runs = analysis.load(known)
    for trial in range(-2, 5):
        for seed in (0, 1, 2):
            own, joint = (analysis.score_matrix(known, t, seed)[1:] for t in (trial, -2))
            assert row(runs, trial, seed)["val_intransigence"] == pytest.approx(intransigence(own, joint))
    assert row(runs, 1, 0)["val_intransigence"] == pytest.approx(0.93 - 0.94)
    assert row(runs, -2, 1)["val_intransigence"] == 0


def test_trials_and_fronts_know_it(known: Path) -> None:
    runs = analysis.load(known)
    trials = analysis.trials(runs).set_index("trial")
    assert trials.loc[0, "val_intransigence"] == pytest.approx(0.93 - 0.70)
    assert trials.loc[0, "val_intransigence_sd"] == pytest.approx(np.std([0.24, 0.23, 0.22], ddof=1))
    found = analysis.front(analysis.trials(runs), ("stability", "intransigence"), runs=runs)
    assert found.members["trial"].tolist() == [1, 2, 4]


def test_without_a_reference_it_is_null_and_says_why(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for seed in (0, 1, 2):
        folder.run(0, seed, matrix_for(0.5, 0.6))
    folder.run(0, 3, matrix_for(0.5, 0.6)[:1], state="stopped")
    for seed, state in ((0, "done"), (1, "failed"), (3, "done")):
        folder.run(-2, seed, matrix_for(0.9, 0.9)[: 3 if state == "done" else 1], state=state)
    runs = analysis.load(folder.write())
    assert row(runs, 0, 0)["val_intransigence"] == pytest.approx(0.3)
    reasons = [json.loads(row(runs, 0, seed)["missing"])["intransigence"] for seed in (1, 2, 3)]
    assert reasons == [
        "the joint reference with this seed failed",
        "no joint reference with this seed",
        "ended after 1 of 3 tasks",
    ]
    assert runs[runs["trial"] == 0]["val_intransigence"].isna().tolist() == [False, True, True, True]


def test_every_null_metric_has_its_reason(known: Path) -> None:
    runs = analysis.load(known)
    nulls = 0
    for found in runs.to_dict("records"):
        missing = {} if pd.isna(found["missing"]) else json.loads(found["missing"])
        null = {m.name for m in ALL_METRICS if pd.isna(found[f"val_{m.name}"])}
        assert null == set(missing)
        assert all(missing.values())
        nulls += len(null)
    assert nulls > 2 * len(runs)  # the worst cases of all of them, and all metrics of some


def old_folder(root: Path) -> Path:
    """A folder as a cfsweep wrote it that knew the first metrics alone."""
    folder = Folder(root)
    for trial in range(3):
        for seed in (0, 1):
            folder.run(trial, seed, matrix_for(0.5 + 0.1 * trial, 0.9 - 0.1 * trial))
    for seed in (0, 1):
        folder.run(-2, seed, matrix_for(0.9, 0.9))
    folder.write()
    schema = runs_schema({n: about["kind"] for n, about in HYPERS.items()}, folder.objectives, OLD_METRICS)
    rows = filled([run | {"missing": None} for run in folder.runs], schema)
    write_part(root, "runs", "part-0", rows, schema)
    return root


def test_old_folders_stay_readable(tmp_path: Path) -> None:
    root = old_folder(tmp_path / "old")
    runs = analysis.load(root)
    assert set(runs.columns) >= {f"val_{metric.name}" for metric in ALL_METRICS}
    found = row(runs, 1, 0)
    assert found["val_intransigence"] == pytest.approx(0.9 - 0.8)
    assert found["val_stability"] == pytest.approx(0.6)
    assert pd.isna(found["val_retention_ratio"])
    new = [metric.name for metric in METRICS if metric.name not in OLD_METRICS]
    assert json.loads(found["missing"]) == dict.fromkeys(new, "not recorded when the run was written")
    assert len(analysis.front(analysis.trials(runs), runs=runs).members) == 3
    for command in (["front"], ["table", "--all"], ["report"], ["select"]):
        result = CliRunner().invoke(app, [command[0], str(root), *command[1:]])
        assert result.exit_code == 0, result.output


def test_old_and_new_parts_side_by_side(tmp_path: Path) -> None:
    root = old_folder(tmp_path / "resumed")
    later = Folder(tmp_path / "later")
    later.run(3, 0, matrix_for(0.7, 0.8))
    schema = runs_schema({n: a["kind"] for n, a in HYPERS.items()}, later.objectives, [m.name for m in METRICS])
    write_part(root, "runs", "part-1", filled(later.runs, schema), schema)
    runs = analysis.load(root)
    assert runs["val_retention_ratio"].isna().sum() == 8
    assert row(runs, 3, 0)["val_retention_ratio"] == pytest.approx(0.7 / 0.8)
    assert "retention_ratio" not in json.loads(row(runs, 3, 0)["missing"])
    assert "retention_ratio" in json.loads(row(runs, 0, 0)["missing"])


def test_an_empty_table_has_all_columns(tmp_path: Path) -> None:
    runs = analysis.load(Folder(tmp_path).write())
    assert set(runs.columns) >= {f"val_{metric.name}" for metric in ALL_METRICS}
    assert runs["val_intransigence"].dtype == "Float64"
    assert list(runs.columns).index("val_intransigence") == list(runs.columns).index("missing") - 1
