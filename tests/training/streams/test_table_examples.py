"""A table that is large: read from the disk, its examples mapped, and to the last bit that of a small one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.ray_backend.trainable import pack_stream, unpack_stream
from cfsweep.training.streams._parquet_rows import ParquetRows
from cfsweep.training.streams._table_files import Raw
from tests.training.streams.tables import as_csv, as_parquet, large, load, months, require_same

STREAMS = "cfsweep.training.streams"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(f"{STREAMS}._table_files._BLOCK_VALUES", 7 * 20)  # so that a table has many blocks
    return tmp_path / "cache" / "tables"


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def as_parts(frame: pd.DataFrame, path: Path) -> Path:
    """Parts in folders called `member=...`, of other types each."""
    for k, (value, part) in enumerate(frame.groupby("member")):
        folder = path / f"member={str(value).lower()}"
        folder.mkdir(parents=True)
        part = part.drop(columns="member").assign(income=part["income"].astype("float32" if k else "float64"))
        pq.write_table(pa.Table.from_pandas(part), folder / "part.parquet", row_group_size=17)
    return path


def as_categories(frame: pd.DataFrame, path: Path) -> Path:
    """As pandas' categories, which Parquet has as dictionaries."""
    return as_parquet(frame.astype({"plan": "category", "churned": "category"}), path)


def as_csv_parts(frame: pd.DataFrame, path: Path) -> Path:
    path.mkdir()
    as_csv(frame[:70], path / "1.csv")
    as_csv(frame[70:][frame.columns[::-1]], path / "2.csv")
    return path


WRITTEN = {
    "t.parquet": as_parquet,
    "y=1.parquet": as_categories,
    "t": as_parts,
    "t.csv": as_csv,
    "texts": as_csv_parts,
}


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        ({}, {"splits": 3}),
        ({"preprocessing": "past", "date": "day"}, {"steering_frac": 0.1}),
        ({"task": None, "date": "day", "windows": 3, "preprocessing": "past", "drop": ["month"]}, {}),
        ({"target": "age.of", "drop": ["churned"]}, {"target": "regression"}),
    ],
)
@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_to_the_last_bit_the_stream_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, args: dict[str, Any], settings: dict[str, Any]
) -> None:
    frame = shuffled(months(0, 3)).rename(columns={"age": "age.of"})
    frame["age.of"] = frame["age.of"].fillna(0) if args.get("target") else frame["age.of"]
    path = WRITTEN[name](frame, tmp_path / name)
    small = load(path, args, **settings)
    assert small.mapped == ""
    large(monkeypatch)
    mapped = load(path, args, **settings)
    require_same(small, mapped)
    assert Path(mapped.mapped).parent == tmp_path / "cache" / "tables"
    assert mapped.x.numpy().tobytes() == np.load(mapped.mapped).tobytes()


def test_examples_are_written_once_by_all_that_they_depend_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large(monkeypatch)
    frame = months(0, 2)
    path = as_csv(frame, tmp_path / "t.csv")
    first = load(path)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "t.csv is large; it is written as Parquet into the cache once" in said[0]
    assert "are written into the cache once, and mapped" in said[1]
    texts, examples = [one for one in cache.iterdir() if one.suffix == ".parquet"], Path(first.mapped)
    require_same(load(path), first)
    assert load(path).mapped == first.mapped
    assert capsys.readouterr().err == ""
    others = [load(path, {"drop": ["age"]}), load(path, {"drop": ["age"]}, split_seed=5), load(path, splits=2)]
    others.append(load(path, {"preprocessing": "past"}))
    assert len({first.mapped, *(other.mapped for other in others)}) == 5, "rows, columns and moments are others"
    words = {"drop": ["age", "income", "since", "day", "member"]}
    assert load(path, words).mapped != load(path, words, validation="latest").mapped, "or their order alone"
    frame.loc[3, "plan"] = "another"
    assert load(as_csv(frame, path)).mapped not in {first.mapped, *(other.mapped for other in others)}
    as_csv(months(0, 2), path)
    for damaged in (*texts, examples):
        content = bytearray(damaged.read_bytes())
        content[-3] ^= 1
        damaged.unlink()  # the mapping of before keeps its own
        damaged.write_bytes(content)
    require_same(load(path), first)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "texts"])
@pytest.mark.parametrize(
    ("column", "value", "args", "said"),
    [
        ("income", 1e300, {}, "column `income`, row {row}: numbers up to 1e+150 are needed, but got `1e+300`"),
        ("income", 1e149, {}, "column `income`, row {row}: numbers must be finite in float32, standardised"),
        ("plan", "strange", {"unknown": "refuse"}, "column `plan`, row {row}: words must be among those"),
        ("churned", None, {}, "column `churned`, row {row}: each row must have a label"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row_and_nothing_is_left(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    column: str,
    value: Any,
    args: dict[str, Any],
    said: str,
) -> None:
    frame = months(0, 2)
    frame.loc[100, column] = value
    path = WRITTEN[name](frame, tmp_path / name)
    lines = []
    for make in (lambda: None, lambda: large(monkeypatch)):
        make()
        with pytest.raises(InputError) as caught:
            load(path, args)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    part, row = (", 2.csv", 31) if name == "texts" else ("", 101)
    assert part + ", " + said.format(row=row) in lines[0]
    assert not cache.exists() or [one.suffix for one in cache.iterdir()] in ([".parquet"] * n for n in range(3))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"month,plan,churned\n1,a,x\n1,b\n", r"row 2: each row must have the 3 columns of the first line"),
        (b"month,plan,churned\n1,a,x\n1,\xff\xfe,x\n", r"its text must be UTF-8"),
        (b"month,plan,churned\n", r"a table needs rows"),
    ],
)
def test_texts_that_are_no_table_are_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    large(monkeypatch)
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load(tmp_path / "t.csv")
    assert not list(cache.glob(".*"))


def test_a_damaged_page_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    path = as_parquet(months(0, 2, rows=2000), tmp_path / "t.parquet")
    content = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(2).data_page_offset
    content[place : place + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    with pytest.raises(InputError, match="the file is truncated or not what its name says") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_row_group_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are as small as they are to be, though the file has one group."""
    large(monkeypatch)
    frame = months(0, 2)
    path = as_parquet(frame, tmp_path / "t.parquet")
    assert pq.read_metadata(path).num_row_groups == 1
    sizes: list[int] = []
    blocks = f"{STREAMS}._table_files.ParquetRows.blocks"
    original = ParquetRows.blocks

    def watched(self: Any, *given: Any) -> Any:
        for block in original(self, *given):
            sizes.append(len(block))
            yield block

    monkeypatch.setattr(blocks, watched)
    stream = load(path)
    assert sum(sizes) == len(frame)
    assert max(sizes) == 7 * 20 // stream.x.shape[1]


def test_workers_of_one_machine_map_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(monkeypatch)
    stream = load(as_parquet(months(0, 2), tmp_path / "t.parquet"))
    packed = pickle.loads(pickle.dumps(pack_stream(stream, NetworkConfig(), one_machine=True)))
    assert packed["x"] is None
    require_same(unpack_stream(packed), stream)


def test_more_text_than_arrow_has_in_one_piece_is_one_line() -> None:
    texts = pa.chunked_array([pa.array(["x" * 2**20])] * 2100)  # the same megabyte, over and over
    with pytest.raises(InputError, match="table, column `t`: a column of texts must take less than 2 GiB") as caught:
        Raw(pa.table({"t": texts}), "table").words("t")
    assert "\n" not in str(caught.value)
