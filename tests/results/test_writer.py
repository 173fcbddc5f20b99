"""A part file is there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfsweep.metrics import METRICS
from cfsweep.results import writer
from cfsweep.results.schema import ACCURACY_SCHEMA, SCHEMA_VERSION, curves_schema, runs_schema, scores_schema
from cfsweep.results.writer import PendingRows, write_part


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_example": 5}, r"^accuracy/: .* but lacks \[\] and has besides \['n_example'\]$"),
        ({"n_examples": None, "accuracy": None}, None),
        ("n_examples", r"^accuracy/: .* but lacks \['n_examples'\] and has besides \[\]$"),
    ],
    ids=["unknown", "null", "missing"],
)
def test_a_row_has_exactly_the_columns_of_its_table(
    tmp_path: Path, change: dict[str, object] | str, message: str | None
) -> None:
    """A value that is passed over silently would be lost; one that is forgotten would be null without a reason."""
    odd = cell(2, 0.5)
    if isinstance(change, str):
        del odd[change]
    else:
        odd |= change
    if message is None:
        assert write_part(tmp_path, "accuracy", "t1", [cell(1, 0.5), odd], ACCURACY_SCHEMA)
        return
    with pytest.raises(ValueError, match=message):
        write_part(tmp_path, "accuracy", "t1", [cell(1, 0.5), odd], ACCURACY_SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_wait_are_one_part_named_like_the_first(tmp_path: Path) -> None:
    pending = PendingRows(tmp_path, {"accuracy": ACCURACY_SCHEMA, "test": ACCURACY_SCHEMA})
    pending.write()
    assert (pending.part, list(tmp_path.iterdir())) == (None, [])
    pending.add("one", {"test": [], "accuracy": [cell(1, 0.5)]})
    pending.add("two", {"test": [cell(2, 0.25)], "accuracy": [cell(2, 0.75)]})
    assert (pending.part, list(tmp_path.iterdir())) == ("one", [])
    for _ in range(2):  # nothing is written twice
        pending.write()
    pending.add("three", {"accuracy": [cell(3, 1.0)]})
    pending.write()
    found = {str(p.relative_to(tmp_path)): pq.read_table(p)["trial"].to_pylist() for p in tmp_path.glob("*/*")}
    assert found == {"accuracy/one.parquet": [1, 2], "test/one.parquet": [2], "accuracy/three.parquet": [3]}


def test_the_tables_are_written_in_the_order_of_the_first_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runs` comes last there, so that what belongs to a run is there once its row is."""
    written: list[str] = []
    monkeypatch.setattr(writer, "write_part", lambda root, table, *args: written.append(table))
    pending = PendingRows(tmp_path, dict.fromkeys(("a", "b", "runs"), ACCURACY_SCHEMA))
    pending.add("one", {"b": [], "a": [], "runs": [cell(1, 0.5)]})
    pending.add("two", {"runs": [], "b": [cell(1, 0.5)], "a": []})
    pending.write()
    assert written == ["b", "a", "runs"]


def test_a_target_of_another_kind_has_other_columns() -> None:
    for schema, names in (
        (scores_schema(("r2", "rmse")), ["eval_task", "r2", "rmse", "n_examples"]),
        (curves_schema(("r2", "rmse")), ["eval_task", "r2", "rmse"]),
    ):
        assert schema.names[-len(names) :] == names
        assert "accuracy" not in schema.names


def test_the_runs_table_is_typed_by_kind() -> None:
    schema = runs_schema({"a": "float", "b": "int", "c": "choice"}, ["mixed"], [metric.name for metric in METRICS])
    assert [schema.field(f"hp_{name}").type for name in "abc"] == [pa.float64(), pa.int64(), pa.string()]
    assert schema.field("objective_mixed").type == pa.float64()
    assert schema.field("started_at").type == pa.timestamp("us", tz="UTC")
    assert {f"val_{metric.name}" for metric in METRICS} <= set(schema.names)
    assert len(set(schema.names)) == len(schema.names)
