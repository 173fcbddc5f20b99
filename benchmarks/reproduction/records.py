"""What the folders of all rows hold, as one table: docs/reproduction.parquet, from which the page is written.

One row per run, of complete stages alone: `row` (`table/row`), `stage`, `trial`, `seed`, the run's `state`, its
`setting` (JSON of what was searched), whether it is of the `chosen` trial, the averages on validation data, and, of
what is measured, `test_average_accuracy` and `test_accuracy`, the accuracy matrix R[t, i] row by row, in [0, 1].
`processor` is that of this machine, for runs that were not trained on a GPU.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import analysis
from analysis.frames import matrix_of
from benchmarks.reproduction.stages import MEASURE, SEARCH, Job, Stage, complete_stages
from cfsweep.errors import InputError, NoAnswerError
from cfsweep.files import write_atomically
from cfsweep.results.reader import read_study

# By what they are called here: all of these studies are scored by accuracy.
VALIDATION = {"average_accuracy": "average_score", "stability": "stability", "plasticity": "plasticity"}
SCHEMA = pa.schema(
    [
        ("row", pa.string()),
        ("stage", pa.string()),
        ("trial", pa.int32()),
        ("seed", pa.int32()),
        ("state", pa.string()),
        ("setting", pa.string()),
        ("chosen", pa.bool_()),
        *((f"val_{name}", pa.float64()) for name in VALIDATION),
        ("test_average_accuracy", pa.float64()),
        ("test_accuracy", pa.list_(pa.float64())),
        ("train_s", pa.float64()),
        ("stored_bytes", pa.int64()),
        ("n_train", pa.int32()),
        ("n_validation", pa.int32()),
        ("n_test", pa.int32()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("device", pa.string()),
        ("versions", pa.string()),
        ("processor", pa.string()),
    ]
)
PACKAGES = ("cfsweep", "torch", "ray", "optuna", "numpy")


def collect(jobs: Sequence[Job], processor: str) -> pa.Table:
    """The runs of all complete stages, in the order of the jobs.

    Raises:
        InputError: a folder holds another study, or is damaged.
    """
    rows = [row for job in jobs for stage in complete_stages(job) for row in _rows(job, stage, processor)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Writes it compactly, whole or not at all."""
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read(path: Path) -> pa.Table:
    """What `write` wrote.

    Raises:
        InputError: there is no such file, or it has other columns.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file. Run `python -m benchmarks.reproduce --report-only` first.")
    table = pq.read_table(path)
    if not table.schema.equals(SCHEMA):
        raise InputError(f"{path}: its columns are not those of this version. Write it anew from the folders.")
    return table


def processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")] if cpuinfo.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def _rows(job: Job, stage: Stage, processor: str) -> Iterator[dict[str, Any]]:
    chosen = _chosen(job, stage)
    runs, about = analysis.load(stage.folder), read_study(stage.folder)
    test = analysis.test_scores(stage.folder) if chosen is not None and stage.name == MEASURE else None
    versions = ", ".join(sorted(f"{name} {v}" for name, v in about["versions"].items() if name in PACKAGES))
    counts = {part: sum(task[part] for task in about["tasks"]) for part in ("n_train", "n_validation", "n_test")}
    for run in runs.astype(object).where(runs.notna(), None).to_dict("records"):
        yield {
            "row": job.key,
            "stage": stage.name,
            **{name: run[name] for name in ("trial", "seed", "state", "train_s", "stored_bytes", "device")},
            "setting": _setting(job, stage, run),
            "chosen": run["trial"] == chosen,
            **{f"val_{name}": run.get(f"val_{metric}") for name, metric in VALIDATION.items()},
            **(_tested(test, run) if test is not None and run["trial"] == chosen else {}),
            **counts,
            "started_at": None if run["started_at"] is None else pd.to_datetime(run["started_at"]).to_pydatetime(),
            "versions": versions,
            "processor": processor if run["device"] == "cpu" else None,
        }


def _chosen(job: Job, stage: Stage) -> int | None:
    """The trial that validation data chooses; of a measurement, the one that is measured; None where none finished."""
    try:
        trial = int(analysis.select(stage.folder)["trial"])
    except NoAnswerError:
        return None
    return trial if stage.name == SEARCH or job.row.trial is None else job.row.trial


def _setting(job: Job, stage: Stage, run: Mapping[str, Any]) -> str:
    """What was searched, with the value that the run had; null where it could not act."""
    fixed = stage.config.space.fixed
    return json.dumps(
        {name: run.get(f"hp_{name}") if stage.name == SEARCH else fixed.get(name) for name in job.row.searched}
    )


def _tested(test: pd.DataFrame, run: Mapping[str, Any]) -> dict[str, Any]:
    matrix = matrix_of(test, run["trial"], run["seed"])[1:]  # without the untrained network
    return {"test_average_accuracy": float(matrix[-1].mean()), "test_accuracy": matrix.ravel().tolist()}
