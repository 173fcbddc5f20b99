"""What the reader makes of folders that are old, new, unfinished, or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfsweep.errors import InputError
from cfsweep.results import checking, reader
from cfsweep.results.opening import open_ledger
from cfsweep.results.reader import committed_file, filesystem, read_study, read_table
from cfsweep.results.schema import ACCURACY_SCHEMA, BUFFERS_SCHEMA, CURVES_SCHEMA, METADATA, SCHEMA_VERSION
from cfsweep.results.sealing import sealed_text
from cfsweep.results.writer import write_part
from cfsweep.sweeping.checking import check


def cell(trial: int, accuracy: float, attempt: int = 0, seed: int = 0, eval_task: int = 0) -> dict[str, object]:
    return {
        "study_id": "s", "trial": trial, "seed": seed, "attempt": attempt, "after_task": 0, "eval_task": eval_task,
        "accuracy": accuracy, "n_examples": 5,
    }  # fmt: skip


def accuracies(root: Path | str) -> dict[tuple[int, int, int], float]:
    rows = read_table(root, "accuracy").to_pylist()
    found = {(row["trial"], row["seed"], row["eval_task"]): row["accuracy"] for row in rows}
    assert len(found) == len(rows), "no cell twice"
    return found


def test_parts_are_joined(tmp_path: Path) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1), cell(0, 0.2, eval_task=1)], ACCURACY_SCHEMA)
    write_part(tmp_path, "accuracy", "b", [cell(1, 0.3)], ACCURACY_SCHEMA)
    assert accuracies(tmp_path) == {(0, 0, 0): 0.1, (0, 0, 1): 0.2, (1, 0, 0): 0.3}


def test_the_latest_attempt_of_each_run_wins(tmp_path: Path) -> None:
    first = [cell(0, 0.1), cell(0, 0.2, eval_task=1), cell(0, 0.3, seed=1), cell(-1, 0.4)]
    write_part(tmp_path, "accuracy", "z-first", first, ACCURACY_SCHEMA)
    write_part(tmp_path, "accuracy", "a-second", [cell(0, 0.9, attempt=2), cell(-1, 0.8, attempt=1)], ACCURACY_SCHEMA)
    assert accuracies(tmp_path) == {(0, 0, 0): 0.9, (0, 1, 0): 0.3, (-1, 0, 0): 0.8}


def test_a_later_attempt_may_have_no_rows_of_its_own(tmp_path: Path) -> None:
    """It failed before its first task: what the one before has left is not its."""
    write_part(tmp_path, "runs", "a", [cell(0, 0.0, attempt=1), cell(1, 0.0, attempt=1)], ACCURACY_SCHEMA)
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1, attempt=1), cell(1, 0.2, attempt=1)], ACCURACY_SCHEMA)
    write_part(tmp_path, "runs", "b", [cell(0, 0.0, attempt=2)], ACCURACY_SCHEMA)
    assert accuracies(tmp_path) == {(1, 0, 0): 0.2}


def test_older_parts_that_lack_a_column_read_as_null(tmp_path: Path) -> None:
    old = ACCURACY_SCHEMA.remove(ACCURACY_SCHEMA.get_field_index("n_examples"))
    row = cell(0, 0.1)
    del row["n_examples"]
    write_part(tmp_path, "accuracy", "old", [row], old)
    write_part(tmp_path, "accuracy", "new", [cell(1, 0.2)], ACCURACY_SCHEMA)
    rows = read_table(tmp_path, "accuracy").to_pylist()
    assert {row["trial"]: row["n_examples"] for row in rows} == {0: None, 1: 5}


def test_no_flipped_bit_of_the_pages_of_a_part_without_a_ledger_is_read(tmp_path: Path) -> None:
    """Uncompressible numbers, whose bits nothing but the checksum of their page vouches for."""
    rng = np.random.default_rng(1)
    rows = [cell(0, float(value), seed=seed) for seed, value in enumerate(rng.random(50))]
    path = write_part(tmp_path, "accuracy", "a", rows, ACCURACY_SCHEMA)
    assert path is not None
    whole, expected = path.read_bytes(), accuracies(tmp_path)
    column = pq.ParquetFile(path).metadata.row_group(0).column(ACCURACY_SCHEMA.get_field_index("accuracy"))
    begin = column.dictionary_page_offset or column.data_page_offset
    refused = 0
    for place in range(begin, begin + column.total_compressed_size, 3):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = accuracies(tmp_path)
        except InputError:
            refused += 1
        else:  # of the page's statistics, say, which nobody reads
            assert found == expected
    assert refused > 100


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    newer = ACCURACY_SCHEMA.with_metadata({b"cfsweep_schema_version": str(SCHEMA_VERSION + 1).encode()})
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], newer)
    with pytest.raises(InputError, match=rf"schema version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}"):
        read_table(tmp_path, "accuracy")


def test_a_file_without_a_version_is_the_oldest(tmp_path: Path) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA.remove_metadata())
    write_part(tmp_path, "accuracy", "b", [cell(1, 0.2)], ACCURACY_SCHEMA)
    assert len(accuracies(tmp_path)) == 2


def test_files_that_are_still_being_written_are_not_read(tmp_path: Path) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    (tmp_path / "accuracy" / ".b.parquet.x1y2.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "accuracy" / "note.txt").write_text("mine")
    assert accuracies(tmp_path) == {(0, 0, 0): 0.1}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    for content in (b"", b"PAR1 torn", (tmp_path / "accuracy" / "a.parquet").read_bytes()[:-20]):
        (tmp_path / "accuracy" / "b.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"accuracy/b\.parquet: not a readable Parquet file"):
            read_table(tmp_path, "accuracy")


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("accuracy", ACCURACY_SCHEMA),
        ("test", ACCURACY_SCHEMA),
        ("curves", CURVES_SCHEMA),
        ("buffers", BUFFERS_SCHEMA),
    ],
)
def test_no_parts_yet_is_an_empty_table(tmp_path: Path, table: str, schema: pa.Schema) -> None:
    assert read_table(tmp_path, table).schema == schema
    assert read_table(tmp_path, table).num_rows == 0
    assert read_table(tmp_path, "runs").num_rows == 0


def test_a_part_that_vanishes_while_it_is_read_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    original = reader._read_part

    def gone(fs: Any, root: Path, path: str, *others: Any) -> pa.Table:
        Path(path).unlink()
        return original(fs, root, path, *others)

    monkeypatch.setattr(reader, "_read_part", gone)
    with pytest.raises(InputError, match=r"a\.parquet"):
        read_table(tmp_path, "accuracy")


def test_what_could_not_be_read_just_now_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a store that is away."""
    (tmp_path / "study.yaml").write_text("study_id: s\n")
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    open_ledger(tmp_path, "s")

    def away(*_: object) -> bytes:
        raise OSError("AWS Error NETWORK_CONNECTION")

    for name, look in (
        ("_committed", lambda: read_table(tmp_path, "accuracy")),
        ("read_small", lambda: read_study(tmp_path)),
        ("read_ledger", lambda: committed_file(tmp_path, "models/trial0-seed0.pt")),
        ("read_ledger", lambda: check(tmp_path)),
    ):
        with monkeypatch.context() as patch:
            for of in (reader, checking):
                if hasattr(of, name):
                    patch.setattr(of, name, away)
            with pytest.raises(InputError, match=r"cannot be read \(AWS Error NETWORK_CONNECTION\)"):
                look()


def test_a_folder_name_is_no_column(tmp_path: Path) -> None:
    root = tmp_path / "seed=7" / "lr=0.1"
    write_part(root, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    assert read_table(root, "accuracy").column_names.count("seed") == 1
    assert accuracies(root) == {(0, 0, 0): 0.1}


def test_many_rows_keep_their_values(tmp_path: Path) -> None:
    rows = [
        cell(trial, trial + seed / 10, seed=seed, attempt=trial % 3) for trial in range(-2, 300) for seed in range(3)
    ]
    write_part(tmp_path, "accuracy", "a", rows, ACCURACY_SCHEMA)
    found = accuracies(tmp_path)
    assert len(found) == 906
    assert all(value == trial + seed / 10 for (trial, seed, _), value in found.items())


def test_a_uri_is_read_like_a_folder(tmp_path: Path) -> None:
    write_part(tmp_path, "accuracy", "a", [cell(0, 0.1)], ACCURACY_SCHEMA)
    assert accuracies(tmp_path.as_uri()) == {(0, 0, 0): 0.1}


def test_study(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study_id: abc\nconfig: {seeds: 1, trials: 2}\n")
    assert read_study(tmp_path) == {"study_id": "abc", "config": {"seeds": 1, "trials": 2}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no study.yaml there"), ("a: [", "not valid YAML"), ("- 1", "no study_id"), ("a: 1", "no study_id")],
)
def test_what_is_no_study(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_study(tmp_path)
    assert "\n" not in message
    assert str(tmp_path) in str(caught.value)


def test_a_folder_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(sealed_text(b"study_id: abc\nlayout: 3\nconfig: {seeds: 1, trials: 2}\n"))
    with pytest.raises(InputError, match=r"study\.yaml: its layout, 3, is newer than 2, which this cfsweep reads"):
        read_study(tmp_path)


def test_unknown_file_systems() -> None:
    with pytest.raises(InputError, match="not a place that can be read"):
        filesystem("foo://bar")


def test_the_version_is_in_the_metadata() -> None:
    assert METADATA == {b"cfsweep_schema_version": b"2"}
    assert ACCURACY_SCHEMA.metadata == CURVES_SCHEMA.metadata == METADATA
