"""What a sweep writes of its runs: rows, columns, and a reason for whatever is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

import analysis
from cfsweep.metrics import METRICS, mixed
from cfsweep.training.spec import PackReport
from tests.sweeping.in_process import Sweep, tiny


def test_the_objective_is_that_of_the_validation_matrix(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=2)))
    for run in sweep.rows():
        cells = np.reshape(sweep.matrices()[run["trial"], 0], (6, 5))
        assert run["objective_mixed"] == pytest.approx(mixed(cells[1:]))
    assert sweep.rows("test") == [], "a sweep does not look at test data"


def test_each_part_carries_the_schema_version(sweep: Sweep) -> None:
    driver = sweep.train(sweep.open(tiny(trials=2)))
    parts = list(sweep.folder.root.glob("*/*.parquet"))
    assert {p.parent.name for p in parts} == {"runs", "accuracy", "buffers"}
    for part in parts:
        schema = pq.read_schema(part)
        assert schema.equals(driver.tables.schemas[part.parent.name], check_metadata=False)
        assert schema.metadata[b"cfsweep_schema_version"] == b"2"


def test_curves_are_written_when_they_are_wanted(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=1, curve_points_per_task=2)))
    curves = sweep.rows("curves")
    assert {(row["task"], row["eval_task"]) for row in curves} == {(t, i) for t in range(5) for i in range(t + 1)}
    assert all(0 <= row["accuracy"] <= 1 for row in curves)
    (run,) = sweep.rows()
    ends = np.reshape(sweep.matrices()[0, 0], (6, 5))[1:]
    dips = {i: [row["accuracy"] for row in curves if row["eval_task"] == i < row["task"]] for i in range(4)}
    lowest = [min(*dips[i], *ends[i + 1 :, i]) for i in range(4)]
    assert run["val_average_minimum_score"] == pytest.approx(np.mean(lowest))
    assert run["val_worst_case_score"] == pytest.approx(ends[4, 4] / 5 + 4 / 5 * np.mean(lowest))


def test_what_was_kept_is_written_and_read(sweep: Sweep) -> None:
    """After each task: as many as the buffer holds, of the tasks so far alone, in the numbers that the run reported."""
    search = {"replay_ratio": {"choices": [0.0, 0.5]}, "replay_buffer": {"choices": [20, 100_000]}}
    reported: dict[tuple[int, int], list[tuple[str, int, int, int, int]]] = {}
    driver = sweep.open(tiny(search, {"ewc_lambda": 0.0}, trials=8, seeds=2))
    take = driver.take_report

    def watch(pack_id: str, report: PackReport) -> None:
        reported.update({record.key: record.buffers for record in report.records})
        take(pack_id, report)

    driver.take_report = watch  # type: ignore[method-assign]
    sweep.train(driver)
    kept = analysis.buffers(sweep.folder.root)
    runs = analysis.load(sweep.folder.root)
    offered = np.cumsum([len(task.train) for task in sweep.stream.tasks])
    on = runs["hp_replay_ratio"] > 0
    assert set(runs["hp_replay_buffer"][on]) == {20, 100_000}
    assert (~on).any()
    assert runs["hp_replay_buffer"][~on].isna().all(), "it cannot act"
    for run in runs[runs["same_as"].isna()].itertuples():
        mine = kept[(kept["trial"] == run.trial) & (kept["seed"] == run.seed)]
        rows = mine[["ingredient", "after_task", "task", "class", "n_examples"]].itertuples(index=False, name=None)
        assert list(rows) == reported[run.trial, run.seed]
        capacity = run.hp_replay_buffer if run.hp_replay_ratio > 0 else 0
        sizes = mine.groupby("after_task")["n_examples"].sum().to_dict()
        assert sizes == {t: min(capacity, int(n)) for t, n in enumerate(offered) if capacity}
        assert (mine["task"] <= mine["after_task"]).all()
        assert all(row["class"] in sweep.stream.tasks[row["task"]].classes for row in mine.to_dict("records"))


def test_without_curves_the_worst_case_is_null_with_its_reason(sweep: Sweep) -> None:
    sweep.train(sweep.open(tiny(trials=1)))
    (run,) = sweep.rows()
    assert run["val_worst_case_score"] is None
    assert json.loads(run["missing"])["worst_case_score"] == "needs curve_points_per_task > 0"
    assert {f"val_{metric.name}" for metric in METRICS} <= set(run)


def test_no_value_is_nan_and_every_null_has_its_reason(sweep: Sweep) -> None:
    search = {"lr": {"choices": [0.01, 1e30]}}
    sweep.train(sweep.open(tiny(search, {"optimizer": "sgd"}, ingredients=(), trials=4, references=True)))
    for row in sweep.rows():
        assert not [name for name, value in row.items() if isinstance(value, float) and not np.isfinite(value)]
        metrics = {n for n, v in row.items() if v is None and n.startswith(("val_", "objective_"))}
        explained = json.loads(row["missing"]) if row["missing"] else {}
        assert {name.partition("_")[2] for name in metrics} <= set(explained)


def test_each_run_says_when_it_began_and_its_configuration_by_a_hash(sweep: Sweep) -> None:
    before = datetime.now(UTC)
    sweep.train(sweep.open(tiny(trials=3, seeds=2, references=True)))
    rows = sweep.rows()
    assert all(before <= row["started_at"] <= datetime.now(UTC) for row in rows)
    hashes = {trial: {row["config_hash"] for row in rows if row["trial"] == trial} for trial in range(-2, 3)}
    assert all(len(of) == 1 for of in hashes.values()), "the seed is no part of it"
    assert len(set().union(*hashes.values())) == 5, "joint and naive have the same values, and are not the same"
