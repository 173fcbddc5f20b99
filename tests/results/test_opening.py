"""A ledger is opened to write: nothing that was a result before is lost, and nothing that was none becomes one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfsweep.errors import InputError
from cfsweep.files import write_atomically
from cfsweep.results.ledger import LEDGER
from cfsweep.results.opening import open_ledger
from cfsweep.results.reader import LAYOUT, STUDY, committed_file, read_table
from cfsweep.results.schema import ACCURACY_SCHEMA, model_path
from cfsweep.results.writer import PendingRows, write_part
from tests.results.test_reader import cell

SCHEMAS = {"accuracy": ACCURACY_SCHEMA, "runs": ACCURACY_SCHEMA}


def committed(root: Path, *trials: int) -> None:
    pending = PendingRows(root, SCHEMAS, open_ledger(root, "s"))
    for trial in trials:
        rows = [cell(trial, 0.5, attempt=1)]
        pending.add(f"pack{trial}", {"accuracy": rows, "runs": rows})
        pending.write()


def trials(root: Path, table: str = "accuracy") -> list[int]:
    return sorted(read_table(root, table)["trial"].to_pylist())


def test_readers_see_what_is_committed_alone(tmp_path: Path) -> None:
    committed(tmp_path, 0, 1)
    write_part(tmp_path, "accuracy", "pack2", [cell(2, 0.5)], ACCURACY_SCHEMA)
    (tmp_path / "accuracy" / "torn.parquet").write_bytes(b"PAR1")
    assert trials(tmp_path) == [0, 1]


def test_a_folder_of_an_earlier_version_gets_one_with_all_its_parts(tmp_path: Path) -> None:
    for table in SCHEMAS:
        for name, trial in (("a", 0), ("b", 1)):
            write_part(tmp_path, table, name, [cell(trial, 0.5, attempt=2)], ACCURACY_SCHEMA)
    write_part(tmp_path, "accuracy", "c", [cell(2, 0.5)], ACCURACY_SCHEMA)
    assert trials(tmp_path) == [0, 1, 2]
    ledger = open_ledger(tmp_path, "s").ledger
    assert trials(tmp_path) == [0, 1, 2]
    assert [(commit.runs, commit.attempt) for commit in ledger.commits.values()] == [
        *((((0, 0),), 2), (((1, 0),), 2)),
        ((), 1),
    ]
    before = (tmp_path / LEDGER).read_bytes()
    open_ledger(tmp_path, "s")
    assert (tmp_path / LEDGER).read_bytes() == before


def test_a_commit_whose_parts_are_all_there_is_taken_in_and_half_of_one_is_removed(tmp_path: Path) -> None:
    committed(tmp_path, 0)
    for table in SCHEMAS:
        write_part(tmp_path, table, "pack1", [cell(1, 0.5)], ACCURACY_SCHEMA)
    half = write_part(tmp_path, "accuracy", "pack2", [cell(2, 0.5)], ACCURACY_SCHEMA)
    open_ledger(tmp_path, "s")
    assert trials(tmp_path) == trials(tmp_path, "runs") == [0, 1]
    assert half is not None
    assert not half.exists()


def test_what_is_known_or_of_another_study_is_left_alone(tmp_path: Path) -> None:
    committed(tmp_path, 0)
    again = write_part(tmp_path, "runs", "brought-back", [cell(0, 0.9, attempt=1)], ACCURACY_SCHEMA)
    other = write_part(tmp_path, "runs", "other", [{**cell(5, 0.9), "study_id": "t"}], ACCURACY_SCHEMA)
    open_ledger(tmp_path, "s")
    assert trials(tmp_path, "runs") == [0]
    assert read_table(tmp_path, "runs")["accuracy"].to_pylist() == [0.5]
    strange = tmp_path / "runs" / "strange.parquet"
    pq.write_table(pa.table({"trial": [3], "seed": [0], "attempt": [1]}), strange)
    open_ledger(tmp_path, "s")
    assert all(path is not None and path.exists() for path in (again, other, strange))


def test_a_later_attempt_whose_parts_are_all_there_is_taken_in(tmp_path: Path) -> None:
    """Its writer was killed before the line; beside it a run that is new."""
    committed(tmp_path, 0)
    for table in SCHEMAS:
        write_part(tmp_path, table, "pack1", [cell(0, 0.75, attempt=2), cell(1, 0.25, attempt=1)], ACCURACY_SCHEMA)
    open_ledger(tmp_path, "s")
    rows = read_table(tmp_path, "runs").sort_by("trial")
    assert (rows["accuracy"].to_pylist(), rows["attempt"].to_pylist()) == ([0.75, 0.25], [2, 1])


def test_the_models_of_a_commit_that_is_taken_in_are_known(tmp_path: Path) -> None:
    committed(tmp_path, 0)
    for trial in (1, 7):
        write_atomically(model_path(tmp_path, (trial, 0)), lambda file: file.write(b"a model"))
    for table in SCHEMAS:
        write_part(tmp_path, table, "pack1", [cell(1, 0.5)], ACCURACY_SCHEMA)
    open_ledger(tmp_path, "s")
    assert committed_file(tmp_path, "models/trial1-seed0.pt") == b"a model"
    (tmp_path / "models" / "trial1-seed0.pt").write_bytes(b"a modem")
    with pytest.raises(InputError, match=r"models/trial1-seed0\.pt: altered"):
        committed_file(tmp_path, "models/trial1-seed0.pt")


def test_what_is_damaged_or_lost_is_refused(tmp_path: Path) -> None:
    committed(tmp_path, 0)
    with pytest.raises(InputError, match=r"commits\.jsonl: it is of study s, not t\. `cfsweep repair"):
        open_ledger(tmp_path, "t")
    path = tmp_path / LEDGER
    path.write_bytes(path.read_bytes().replace(b"pack0", b"pack1", 1))
    for look in (lambda: open_ledger(tmp_path, "s"), lambda: read_table(tmp_path, "runs")):
        with pytest.raises(InputError, match=r"commits\.jsonl: line 2 is altered\. `cfsweep repair"):
            look()
    path.unlink()
    assert trials(tmp_path) == [0], "as of an earlier version"
    (tmp_path / STUDY).write_text(f"study_id: s\n{LAYOUT}: 2\n")
    for look in (lambda: open_ledger(tmp_path, "s"), lambda: read_table(tmp_path, "runs")):
        with pytest.raises(InputError, match=r"commits\.jsonl: missing\. `cfsweep repair"):
            look()
    assert not path.exists()


def test_a_part_that_is_whole_but_not_what_was_committed_is_refused(tmp_path: Path) -> None:
    """No checksum of Parquet's own can tell that."""
    committed(tmp_path, 1, 2)
    part, other = sorted((tmp_path / "accuracy").glob("*.parquet"))
    part.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match=r"altered: it is not what commits\.jsonl has the SHA-256 of"):
        read_table(tmp_path, "accuracy")
