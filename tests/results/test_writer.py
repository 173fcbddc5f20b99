"""A part file is there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfsweep.metrics import METRICS
from cfsweep.results.schema import ACCURACY_SCHEMA, SCHEMA_VERSION, runs_schema
from cfsweep.results.writer import write_part


def cell(trial: int, accuracy: float, attempt: int = 0, after: int = 0) -> dict[str, object]:
    return {
        "study_id": "s", "trial": trial, "seed": 0, "attempt": attempt, "after_task": after, "eval_task": 0,
        "accuracy": accuracy, "n_examples": 5,
    }  # fmt: skip


def test_a_part_carries_its_rows_and_the_schema_version(tmp_path: Path) -> None:
    path = write_part(tmp_path, "accuracy", "t1", [cell(1, 0.5), cell(1, 0.75, after=1)], ACCURACY_SCHEMA)
    assert path == tmp_path / "accuracy" / "t1.parquet"
    read = pq.read_table(path)
    assert read.schema.metadata[b"cfsweep_schema_version"] == str(SCHEMA_VERSION).encode()
    assert read.column("accuracy").to_pylist() == [0.5, 0.75]


def test_the_same_part_twice_is_one_part(tmp_path: Path) -> None:
    for accuracy in (0.5, 0.6):
        write_part(tmp_path, "accuracy", "t1", [cell(1, accuracy)], ACCURACY_SCHEMA)
    (only,) = (tmp_path / "accuracy").iterdir()
    assert pq.read_table(only).column("accuracy").to_pylist() == [0.6]


def test_no_rows_no_file(tmp_path: Path) -> None:
    assert write_part(tmp_path, "accuracy", "t1", [], ACCURACY_SCHEMA) is None
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_the_wrong_type_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        write_part(tmp_path, "accuracy", "t1", [cell(1, "high")], ACCURACY_SCHEMA)  # type: ignore[arg-type]
    assert not (tmp_path / "accuracy").exists() or list((tmp_path / "accuracy").iterdir()) == []


def test_the_runs_table_is_typed_by_kind() -> None:
    schema = runs_schema({"a": "float", "b": "int", "c": "choice"}, ["mixed"], [metric.name for metric in METRICS])
    assert [schema.field(f"hp_{name}").type for name in "abc"] == [pa.float64(), pa.int64(), pa.string()]
    assert schema.field("objective_mixed").type == pa.float64()
    assert schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert {f"val_{metric.name}" for metric in METRICS} <= set(schema.names)
    assert len(set(schema.names)) == len(schema.names)
