"""Builds a results folder with known numbers, through the real writer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from cfsweep.metrics import METRICS, mixed, summarise
from cfsweep.results.schema import ACCURACY_SCHEMA, CURVES_SCHEMA, reference_method, runs_schema
from cfsweep.results.writer import write_part

HYPERS: dict[str, dict[str, Any]] = {
    "ewc_lambda": {"kind": "float", "default": 1e4, "log": True, "searched": True, "low": 0.1, "high": 1e8},
    "replay_ratio": {"kind": "float", "default": 0.25, "log": False, "searched": True, "low": 0.0, "high": 0.9},
    "buffer_size": {"kind": "int", "default": 200, "log": True, "searched": True, "low": 10, "high": 2000},
    "lr": {"kind": "float", "default": 1e-3, "log": True, "searched": False, "low": None, "high": None},
}


@dataclass
class Folder:
    """A results folder under construction; `run` adds one run, `confirm` a fresh one, `write` puts all on disk.

    `earlier`: it is of an earlier version, whose sweeps evaluated on test data, too.
    """

    root: Path
    n_tasks: int = 3
    objective: Mapping[str, Any] = field(default_factory=lambda: {"name": "pareto", "old_weight": 0.5, "third": None})
    hypers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: HYPERS)
    task_names: Sequence[str] | None = None
    study_id: str = "0123456789ab"
    stream: str = "split-digits"
    scenario: str = "task-il"
    seeds: int = 2
    purpose: str = "sweep"
    confirms: str | None = None  # the id of the study
    earlier: bool = False
    confirmed: dict[str, Folder] = field(default_factory=dict)  # by what they are for
    runs: list[dict[str, Any]] = field(default_factory=list)
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    test: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)

    @property
    def objectives(self) -> tuple[str, ...]:
        if self.objective["name"] == "mixed":
            return ("mixed",)
        third = self.objective.get("third")
        return ("stability", "plasticity", *((third,) if third else ()))

    @property
    def parts(self) -> tuple[str, ...]:
        """The tables of what scores its runs."""
        if self.earlier:
            return ("accuracy", "test")
        return {"sweep": ("accuracy",), "confirm": ("accuracy", "test"), "refit": ("test",)}[self.purpose]

    def confirm(
        self, trial: int, seed: int, matrix: Sequence[Sequence[float]], purpose: str = "confirm", **more: Any
    ) -> None:
        """Adds one run, of a fresh seed, to what is confirmed of it (or refitted); `more` as for `run`."""
        where = self.root / {"confirm": "confirmed", "refit": "refitted"}[purpose]
        about = {"n_tasks": self.n_tasks, "hypers": self.hypers, "purpose": purpose, "confirms": self.study_id}
        inside = self.confirmed.setdefault(purpose, Folder(where, study_id="fedcba987654", seeds=1, **about))
        inside.run(trial, seed, matrix, **more)
        inside.seeds = len({run["seed"] for run in inside.runs})

    def run(
        self,
        trial: int,
        seed: int,
        matrix: Sequence[Sequence[float]],
        state: str = "done",
        settings: Mapping[str, Any] | None = None,
        failure: str | None = None,
        test_shift: float = -0.01,
        **columns: Any,
    ) -> None:
        """Adds one run whose accuracies after each task are `matrix` (tasks_done, n_tasks); untrained is 0.5."""
        cells = np.array(matrix, dtype=float).reshape(-1, self.n_tasks)
        untrained = np.full(self.n_tasks, 0.5)
        values, missing = summarise(cells, untrained, self.scenario, self.n_tasks)
        if "accuracy" not in self.parts:
            values = dict.fromkeys(values)
            missing = dict.fromkeys(values, "trained on the validation data, too")
        row: dict[str, Any] = {
            "study_id": self.study_id, "trial": trial, "seed": seed, "config_hash": f"c{trial}", "attempt": 0,
            "method": reference_method(trial) or "ewc+replay", "scenario": self.scenario, "stream": self.stream,
            "state": state, "tasks_done": len(cells), "train_s": 2.0 + trial / 10, "steps": 100, "peak_bytes": 1000,
            "stored_bytes": 64 * (trial + 3), "n_parameters": 5000, "host": "h", "device": "cpu", "failure": failure,
            "missing": json.dumps(missing) if missing else None, "started_at": datetime(2026, 1, 1, tzinfo=UTC),
            "fisher_convention": None, "penalty_convention": None,
        }  # fmt: skip
        defaults = {name: about["default"] if trial >= 0 else None for name, about in self.hypers.items()}
        row |= {f"hp_{name}": v for name, v in (defaults | dict(settings or {})).items()}
        row |= {f"val_{name}": v for name, v in values.items()}
        row |= {f"objective_{name}": values.get(name, row.get(name)) for name in self.objectives}
        if "mixed" in self.objectives and "accuracy" in self.parts and len(cells) == self.n_tasks > 1:
            row["objective_mixed"] = mixed(cells)
        self.runs.append(row | columns)
        for after, accuracies in enumerate([untrained, *cells], start=-1):
            for task, accuracy in enumerate(accuracies):
                cell = {"study_id": self.study_id, "trial": trial, "seed": seed, "attempt": row["attempt"]}
                cell |= {"after_task": after, "eval_task": task, "n_examples": 50}
                self.accuracy.append(cell | {"accuracy": float(accuracy)})
                self.test.append(cell | {"accuracy": float(accuracy) + (test_shift if after >= 0 else 0)})

    def curve(self, trial: int, seed: int, steps: int = 5) -> None:
        """Adds a made-up curve that rises on the task in training and sags on earlier ones."""
        for task in range(self.n_tasks):
            for step in range(1, steps + 1):
                for seen in range(task + 1):
                    accuracy = 0.5 + 0.08 * step if seen == task else 0.9 - 0.05 * step
                    row = {"study_id": self.study_id, "trial": trial, "seed": seed, "attempt": 0, "task": task}
                    self.curves.append(row | {"step": step * 20, "eval_task": seen, "accuracy": accuracy})

    def write(self) -> Path:
        """Writes study.yaml and one part per table; returns the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        names = self.task_names or [f"{2 * i}-{2 * i + 1}" for i in range(self.n_tasks)]
        study = {
            "study_id": self.study_id,
            "created_at": "2026-01-01T00:00:00+00:00",
            "config": {
                "space": {"network": {"name": "mlp", "args": {}}, "ingredients": ["ewc", "replay"]},
                "stream": {"name": self.stream, "scenario": self.scenario},
                "objective": dict(self.objective), "seeds": self.seeds, "trials": 48,
                "purpose": self.purpose,
            },
            "hypers": {name: dict(about) for name, about in self.hypers.items()},
            "tasks": [{"name": n, "classes": 2, "n_train": 200, "n_validation": 50, "n_test": 60} for n in names],
            "data_sha256": {"digits.csv": "ab" * 32},
            "versions": {"cfsweep": "0.1.0", "torch": "2.15.0"},
            **({"confirms": {"study_id": self.confirms, "trials": {}, "references": []}} if self.confirms else {}),
            "git_revision": "1fb2021",
            "conventions": {"ewc": "penalty 1/2 lambda sum F d^2"},
        }  # fmt: skip
        (self.root / "study.yaml").write_text(yaml.safe_dump(study, allow_unicode=True))
        kinds = {name: about["kind"] for name, about in self.hypers.items()}
        schema = runs_schema(kinds, self.objectives, [metric.name for metric in METRICS])
        for table, rows, columns in (
            ("runs", filled(self.runs, schema), schema),
            *((table, getattr(self, table), ACCURACY_SCHEMA) for table in self.parts),
            ("curves", self.curves, CURVES_SCHEMA),
        ):
            write_part(self.root, table, "part-0", rows, columns)
        for inside in self.confirmed.values():
            inside.write()
        return self.root


def filled(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows with just the columns of a schema, null where they say nothing."""
    return [{name: row.get(name) for name in schema.names} for row in rows]


def matrix_for(stability: float, plasticity: float, n_tasks: int = 3) -> list[list[float]]:
    """A matrix with exactly this stability and plasticity; its average score is ((T-1) s + p) / T."""
    cells = np.full((n_tasks, n_tasks), 0.5)
    np.fill_diagonal(cells, plasticity)
    for t in range(1, n_tasks):
        cells[t, :t] = stability
    return cells.tolist()


LATER = datetime(2026, 1, 2, tzinfo=UTC)


def half_grown(root: Path) -> Folder:
    """A study that was begun with seed 0 and is being given seeds 1 and 2, with which all that has them is better.

    Trials 0, 1 and 2 have a stability of .7, .8 and .6, naive .5 and, at another lr, .6; joint .9. Trials 0 and 1 and
    the first of naive have seed 1, trial 0 seed 2 as well.
    """
    folder = Folder(root, seeds=3)
    for trial, stability in {0: 0.7, 1: 0.8, 2: 0.6, -1: 0.5, -3: 0.6, -2: 0.9}.items():
        folder.run(trial, 0, matrix_for(stability, 0.9), settings={"lr": 0.01 if trial == -3 else 0.001})
    for trial, seed in ((0, 1), (1, 1), (-1, 1), (0, 2)):
        folder.run(trial, seed, matrix_for(1.0, 0.9), settings={"lr": 0.001}, started_at=LATER)
    return folder


def idle(root: Path, n_trials: int = 30, seeds: int = 2) -> Folder:
    """A folder in which every third trial has replay off, so that its buffer could not act; nor could `momentum` ever,
    nor the first trial's `replay_mode`."""
    mode = {"kind": "choice", "default": "reservoir", "searched": True, "log": False}
    momentum = {"kind": "float", "default": 0.9, "searched": True, "log": False}
    folder = Folder(root, hypers={**HYPERS, "replay_mode": mode, "momentum": momentum}, seeds=seeds)
    draw = np.random.default_rng(3)
    for trial in range(n_trials):
        off = trial % 3 == 0
        ratio = 0.0 if off else float(draw.uniform(0.1, 0.9))
        settings: dict[str, Any] = {"ewc_lambda": float(10 ** draw.uniform(-1, 8)), "replay_ratio": ratio}
        settings["buffer_size"] = None if off else int(draw.integers(10, 2000))
        settings["replay_mode"] = None if off else ("reservoir", "balanced")[trial % 2]
        for seed in range(seeds):
            cells = matrix_for(0.5 + 0.4 * ratio + 0.01 * seed, 0.9 - 0.1 * ratio)
            folder.run(trial, seed, cells, settings={**settings, "momentum": None})
    for seed in range(seeds):
        folder.run(-1, seed, matrix_for(0.5, 0.9))
        folder.run(n_trials, seed, [], state="failed", failure="out of memory", settings=settings)
    return folder


def lively(root: Path, n_trials: int = 48, seeds: int = 3, n_tasks: int = 5, **about: Any) -> Folder:
    """A folder that looks like a real sweep: a noisy trade-off, references, stopped and failed trials, curves."""
    folder = Folder(root, n_tasks=n_tasks, seeds=seeds, **about)
    draw = np.random.default_rng(7)
    for trial in range(n_trials):
        strength = float(draw.uniform()) if trial else 0.45
        skill = float(draw.uniform(0, 1)) ** 0.5 if trial else 0.55
        off = trial % 9 == 4
        settings = {
            "ewc_lambda": 0.0 if off else float(10 ** (9 * strength - 1)),
            "replay_ratio": round(0.9 * strength * skill, 3),
            "buffer_size": int(10 ** (1 + 2.3 * skill)),
        }
        for seed in range(seeds):
            noise = draw.normal(0, 0.006, size=2)
            stable = min(0.80 + 0.17 * (1 - (1 - strength) ** 2) * (0.55 + 0.45 * skill) + noise[0], 1.0)
            plastic = min(0.985 - 0.06 * strength**2 * (1.2 - skill) + 0.4 * noise[1], 1.0)
            folder.run(trial, seed, matrix_for(stable, plastic, n_tasks), settings=settings)
    for seed in range(seeds):
        folder.run(-1, seed, matrix_for(0.84 + 0.005 * seed, 0.985, n_tasks))
        folder.run(-2, seed, matrix_for(0.975 + 0.002 * seed, 0.98, n_tasks))
        folder.run(n_trials, seed, matrix_for(0.6, 0.9, n_tasks)[:2], state="stopped")
        folder.run(n_trials + 1, seed, [], state="failed", failure="loss became NaN\nat step 17")
        folder.curve(3, seed)
    return folder
