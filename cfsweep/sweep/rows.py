"""From a run's record to the rows of the Parquet tables, and to its objective values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from cfsweep.config import ObjectiveConfig, StudyConfig, content_hash
from cfsweep.hypers import Hyper, Value
from cfsweep.metrics import METRICS, mixed, plasticity, stability, summarise
from cfsweep.results.schema import ACCURACY_SCHEMA, BUFFERS_SCHEMA, CURVES_SCHEMA, runs_schema
from cfsweep.training.spec import PackReport, RunRecord, accuracy_rows

PLANE = ("stability", "plasticity")


@dataclass(frozen=True)
class Ended:
    """A run that has ended: how, and what it was."""

    state: str
    record: RunRecord
    method: str
    values: Mapping[str, Value]
    attempt: int
    started_at: datetime


def schemas(config: StudyConfig, hypers: Mapping[str, Hyper]) -> dict[str, pa.Schema]:
    """The schema of each table of this study."""
    kinds = {name: hyper.kind for name, hyper in hypers.items()}
    return {
        "runs": runs_schema(kinds, config.objective.names, [metric.name for metric in METRICS]),
        "accuracy": ACCURACY_SCHEMA,
        "test": ACCURACY_SCHEMA,
        "curves": CURVES_SCHEMA,
        "buffers": BUFFERS_SCHEMA,
    }


def objective_values(record: RunRecord, report: PackReport, objective: ObjectiveConfig) -> dict[str, float]:
    """The objectives of one finished run, and always its stability and plasticity, from validation data alone."""
    matrix = accuracy_rows(record.validation, report.counts["validation"])[1:]
    known = {
        "mixed": mixed(matrix, objective.old_weight),
        "stability": stability(matrix),
        "plasticity": plasticity(matrix),
        "train_s": record.train_s,
        "stored_bytes": float(record.stored_bytes),
        "n_parameters": float(report.n_parameters or 0),
    }
    return {name: known[name] for name in dict.fromkeys((*objective.names, *PLANE))}


def tables(config: StudyConfig, report: PackReport, ended: list[Ended]) -> dict[str, list[dict[str, Any]]]:
    """The rows that these runs add to each table."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("accuracy", "test", "curves", "buffers", "runs")}
    for run in ended:
        ids = {
            "study_id": config.study_id,
            "trial": run.record.trial,
            "seed": run.record.seed,
            "attempt": run.attempt,
        }
        rows["runs"].append({**ids, **_run_row(config, report, run)})
        for table, counts, n in (
            ("accuracy", run.record.validation, report.counts["validation"]),
            ("test", run.record.test, report.counts["test"]),
        ):
            accuracies = accuracy_rows(counts, n)
            rows[table] += [
                {**ids, "after_task": t - 1, "eval_task": i, "accuracy": float(accuracies[t, i]), "n_examples": n[i]}
                for t, i in np.ndindex(*accuracies.shape)
            ]
        rows["curves"] += [
            {**ids, "task": task, "step": step, "eval_task": seen, "accuracy": accuracy}
            for task, step, seen, accuracy in run.record.curves
        ]
        rows["buffers"] += [
            {**ids, "ingredient": name, "after_task": after, "task": task, "class": label, "n_examples": n}
            for name, after, task, label, n in run.record.buffers
        ]
    return rows


def _run_row(config: StudyConfig, report: PackReport, run: Ended) -> dict[str, Any]:
    record = run.record
    n_tasks = len(report.counts["validation"])
    accuracies = accuracy_rows(record.validation, report.counts["validation"])
    untrained = accuracies[0] if len(accuracies) else np.empty(n_tasks)
    metrics, missing = summarise(accuracies[1:], untrained, config.stream.scenario, n_tasks, record.curves)
    objectives: dict[str, float | None] = dict.fromkeys(config.objective.names)
    if run.state == "done":
        values = objective_values(record, report, config.objective)
        objectives.update({name: values[name] for name in objectives})
    else:
        missing.update(dict.fromkeys(objectives, f"the run {run.state}"))
    return {
        "config_hash": content_hash({"method": run.method, "values": dict(run.values)}),
        "method": run.method,
        "scenario": config.stream.scenario,
        "stream": config.stream.name,
        "state": run.state,
        **{f"hp_{name}": value for name, value in run.values.items()},
        **{f"objective_{name}": value for name, value in objectives.items()},
        **{f"val_{name}": value for name, value in metrics.items()},
        "missing": json.dumps(missing, sort_keys=True) if missing else None,
        "tasks_done": record.tasks_done,
        "train_s": record.train_s,
        "steps": record.steps,
        "peak_bytes": report.peak_bytes,
        "stored_bytes": record.stored_bytes,
        "n_parameters": report.n_parameters,
        "fisher_convention": report.fisher_convention,
        "penalty_convention": report.penalty_convention,
        "started_at": run.started_at,
        "host": report.host,
        "device": report.device,
        "failure": record.failure,
    }
