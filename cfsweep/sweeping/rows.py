"""From a run's record to the rows of the Parquet tables, and to its objective values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from cfsweep.config import ObjectiveConfig, StudyConfig
from cfsweep.hypers import Hyper, Value
from cfsweep.identity import content_hash
from cfsweep.metrics import METRICS, mixed, plasticity, stability, summarise
from cfsweep.results.schema import BUFFERS_SCHEMA, TABLE_OF, TABLES, curves_schema, runs_schema, scores_schema
from cfsweep.training.acting import acting, idle
from cfsweep.training.spec import PackReport, RunRecord, method_of_space, score_rows

FRONT_AXES = ("stability", "plasticity")
UNKNOWN = "a trainer from outside does not say"


@dataclass(frozen=True)
class Ended:
    """A run that has ended: how, and what it was."""

    state: str
    record: RunRecord
    method: str
    ingredients: tuple[str, ...]
    values: Mapping[str, Value]
    attempt: int
    started_at: datetime


def objective_values(record: RunRecord, report: PackReport, objective: ObjectiveConfig) -> dict[str, float]:
    """The objectives of one finished run, and always its stability and plasticity, from validation data alone."""
    matrix = score_rows(record.validation, len(report.n_examples["validation"]))[1:]
    known = {
        "mixed": mixed(matrix, objective.old_weight),
        "stability": stability(matrix),
        "plasticity": plasticity(matrix),
        "train_s": record.train_s,
        "stored_bytes": float(record.stored_bytes),
        "n_parameters": float(report.n_parameters or 0),
    }
    return {name: known[name] for name in dict.fromkeys((*objective.names, *FRONT_AXES))}


def config_hash(method: str, ingredients: Iterable[str], values: Mapping[str, Value], outside: bool = False) -> str:
    """A hash of what acts of the settings of a run with these ingredients: all of those of a trainer from `outside`."""
    return content_hash({"method": method, "values": values if outside else acting(ingredients, values)})


def _known(scores: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    """By score; null where one has no value.

    >>> _known(("accuracy", "roc_auc"), (0.5, float("nan")))
    {'accuracy': 0.5, 'roc_auc': None}
    """
    return {score: None if math.isnan(value) else value for score, value in zip(scores, values, strict=True)}


@dataclass(frozen=True)
class StudyTables:
    """The tables of one study, in which the `scores` are measured, the one that steers first; this lies within
    `bounds`."""

    config: StudyConfig
    hypers: Mapping[str, Hyper]
    scores: Sequence[str]
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def outside(self) -> bool:
        """Whether a trainer from outside trains."""
        return self.config.space.trainer is not None

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """The schema of each table."""
        kinds = {name: hyper.kind for name, hyper in self.hypers.items()}
        scores = scores_schema(self.scores)
        return {
            "runs": runs_schema(kinds, self.config.objective.names, [metric.name for metric in METRICS]),
            "accuracy": scores,
            "test": scores,
            "curves": curves_schema(self.scores[:1]),
            "buffers": BUFFERS_SCHEMA,
        }

    def hash_of_trial(self, values: Mapping[str, Value]) -> str:
        """Equal for trials of the study whose runs come to the same, seed by seed."""
        space = self.config.space
        return config_hash(method_of_space(space), space.ingredients, values, self.outside)

    def settings(
        self, ingredients: Iterable[str], values: Mapping[str, Value]
    ) -> tuple[dict[str, Value | None], dict[str, str]]:
        """The settings of a run as columns of `runs`, and why those are null that could not act. (A reference has no
        ingredients, and none of their settings.)"""
        why = {} if self.outside else idle(ingredients, values)
        columns = {f"hp_{name}": None if name in why else values.get(name) for name in self.hypers}
        return columns, {f"hp_{name}": f"it could not act: {reason}" for name, reason in why.items()}

    def rows(self, report: PackReport, ended: list[Ended]) -> dict[str, list[dict[str, Any]]]:
        """The rows that these runs add to each table; `runs` comes last, so that a run is there once its row is."""
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in (*TABLES[1:], TABLES[0])}
        for run in ended:
            ids = {
                "study_id": self.config.study_id,
                "trial": run.record.trial,
                "seed": run.record.seed,
                "attempt": run.attempt,
            }
            rows["runs"].append({**ids, **self._run(report, run)})
            for part, table in TABLE_OF.items():
                n, further = report.n_examples[part], run.record.further.get(part, {})
                of_scores = [getattr(run.record, part), *(further.get(name, []) for name in self.scores[1:])]
                rows[table] += [
                    {**ids, "after_task": t - 1, "eval_task": i, "n_examples": n[i], **_known(self.scores, values)}
                    for t, of_tasks in enumerate(zip(*of_scores, strict=True))
                    for i, values in enumerate(zip(*of_tasks, strict=True))
                    if t or not self.outside  # which does not evaluate the untrained network
                ]
            rows["curves"] += [
                {**ids, "task": task, "step": step, "eval_task": seen, **_known(self.scores[:1], (score,))}
                for task, step, seen, score in run.record.curves
            ]
            rows["buffers"] += [
                {**ids, "ingredient": name, "after_task": after, "task": task, "class": label, "n_examples": n}
                for name, after, task, label, n in run.record.buffers
            ]
        return rows

    def _run(self, report: PackReport, run: Ended) -> dict[str, Any]:
        record, config = run.record, self.config
        n_tasks = len(report.n_examples["validation"])
        scores = score_rows(record.validation, n_tasks)
        untrained = scores[0] if len(scores) else np.empty(n_tasks)
        metrics, missing = summarise(scores[1:], untrained, config.stream.scenario, n_tasks, record.curves, self.bounds)
        if "validation" not in config.parts:
            missing = dict.fromkeys(metrics, "trained on the validation data, too")
        settings, idle_settings = self.settings(run.ingredients, run.values)
        missing.update(idle_settings)
        if self.outside:
            missing.update(dict.fromkeys(("steps", "stored_bytes", "n_parameters", "peak_bytes"), UNKNOWN))
        objectives: dict[str, float | None] = dict.fromkeys(config.objective.names)
        if "validation" not in config.parts:
            missing.update(dict.fromkeys(objectives, "trained on the validation data, too"))
        elif run.state == "done":
            values = objective_values(record, report, config.objective)
            objectives.update({name: values[name] for name in objectives})
        else:
            missing.update(dict.fromkeys(objectives, f"the run {run.state}"))
        return {
            "config_hash": config_hash(run.method, run.ingredients, run.values, self.outside),
            "same_as": None,
            "method": run.method,
            "scenario": config.stream.scenario,
            "stream": config.stream.name,
            "state": run.state,
            **settings,
            **{f"objective_{name}": value for name, value in objectives.items()},
            **{f"val_{name}": value for name, value in metrics.items()},
            "missing": json.dumps(missing, sort_keys=True) if missing else None,
            "tasks_done": record.tasks_done,
            "train_s": record.train_s,
            "steps": None if self.outside else record.steps,
            "peak_bytes": report.peak_bytes,
            "stored_bytes": None if self.outside else record.stored_bytes,
            "n_parameters": report.n_parameters,
            "fisher_convention": report.fisher_convention,
            "penalty_convention": report.penalty_convention,
            "started_at": run.started_at,
            "host": report.host,
            "device": report.device,
            "failure": record.failure,
        }
