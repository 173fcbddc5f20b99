"""Tasks in Parquet, as pandas, Spark, Dask and Polars write them: columns go by name, and an index is no feature."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, load_stream


def frame(first: int = 0, n: int = 40) -> pd.DataFrame:
    """Two features, which tell the two classes apart."""
    rng, y = np.random.default_rng(first), first + np.arange(n) % 2
    return pd.DataFrame({"near": y + 0.1 * rng.normal(size=n), "far": rng.normal(size=n), "y": y})


def load(folder: Path, **settings: Any) -> Stream:
    return load_stream(StreamConfig(name=str(folder), **settings))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_equal(one: Stream, other: Stream) -> None:
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.y, other.y)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two tasks without anything odd."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(2):
        frame(2 * number).to_parquet(folder / f"task-{number}.parquet", index=False)
    return folder


# ------------------------------------------------------------------------------------------------ what is a feature


@pytest.mark.parametrize(
    "indexed",
    [
        lambda f: f.sample(frac=1, random_state=0).sort_values("near").sort_index(),  # a range: pandas writes none
        lambda f: f.set_index(np.arange(40) * 7),  # without a name
        lambda f: f.set_index(pd.Index(np.arange(40), name="id")),
        lambda f: f.set_index([np.arange(40), np.arange(40)]),  # two levels
        lambda f: f.set_index(pd.Index([str(i) for i in range(40)], name="name")),  # no numbers
    ],
    ids=["range", "unnamed", "named", "two levels", "texts"],
)
def test_an_index_that_pandas_wrote_is_no_feature(
    tmp_path: Path, plain: Path, indexed: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    (tmp_path / "indexed").mkdir()
    for number in range(2):
        indexed(frame(2 * number)).to_parquet(tmp_path / "indexed" / f"task-{number}.parquet")
    assert_equal(load(tmp_path / "indexed"), load(plain))


def test_an_index_that_another_tool_passed_on_is_none_either_but_a_label_may_be_one(
    tmp_path: Path, plain: Path
) -> None:
    for name, change in (
        ("passed on", lambda f: f.assign(__index_level_0__=range(40))),
        ("label", lambda f: f.set_index("y")),
    ):
        (tmp_path / name).mkdir()
        for number in range(2):
            path = tmp_path / name / f"task-{number}.parquet"
            change(frame(2 * number)).to_parquet(path)
            if name == "passed on":
                pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
        assert_equal(load(tmp_path / name), load(plain))


@pytest.mark.parametrize("order", [["y", "far", "near"], ["far", "y", "near"], ["near", "far", "y"]])
def test_features_go_by_name_in_the_order_of_the_first_task(tmp_path: Path, plain: Path, order: list[str]) -> None:
    (tmp_path / "other").mkdir()
    for number, names in enumerate((["near", "far", "y"], order)):
        frame(2 * number)[names].to_parquet(tmp_path / "other" / f"task-{number}.parquet", index=False)
    assert_equal(load(tmp_path / "other"), load(plain))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.rename(columns={"far": "farr"}), "but it lacks `far` and has `farr`. Rename or drop columns."),
        (lambda f: f.drop(columns="far"), "but it lacks `far`. Rename"),
        (lambda f: f.assign(more=1.0, most=2.0), "but it has `more`, `most`. Rename"),
        (
            lambda f: f.join(pd.DataFrame(np.zeros((40, 389)), columns=[f"c{i}" for i in range(389)])),
            "but it has `c0`, `c1`, `c10`, `c100`, `c101` and 384 more.",
        ),
        (lambda f: pd.DataFrame({"x": [[1.0, 2.0]] * 40, "y": f["y"]}), "but it lacks `far`, `near` and has `x`."),
    ],
    ids=["renamed", "fewer", "more", "many", "a list"],
)
def test_other_features_than_before_are_named(
    plain: Path, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    change(frame(2)).to_parquet(plain / "task-1.parquet", index=False)
    line = refused(plain)
    assert "task-1.parquet: all tasks must have the same features, " in line
    assert said in line


def test_a_name_that_stands_twice_is_refused(plain: Path) -> None:
    table = pa.table(
        [pa.array(np.arange(40.0)), pa.array(np.arange(40.0)), pa.array(np.arange(40) % 2)], ["a", "a", "y"]
    )
    pq.write_table(table, plain / "task-0.parquet")
    assert "task-0.parquet: a column name stands once, but `a` stands twice. Rename one." in refused(plain)


# ------------------------------------------------------------------------------------------------ what holds numbers


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(far=f["far"].astype("float32").astype("category")),
        lambda f: f.assign(far=[decimal.Decimal(f"{v:.3f}") for v in f["far"]]),
        lambda f: f.assign(far=f["far"] > 0),
        lambda f: f.assign(far=(100 * f["far"]).round().astype("Int16")),
        lambda f: f.assign(y=f["y"].astype("category")),
        lambda f: f.assign(split=pd.Categorical(["train", "train", "test", "test"] * 10)),
    ],
    ids=["category of numbers", "decimal", "boolean", "nullable", "label", "split"],
)
def test_numbers_are_read_however_they_are_written(plain: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    before, changed = load(plain), change(frame(0))
    if "split" in changed:
        frame(2).assign(split=changed["split"]).to_parquet(plain / "task-1.parquet", index=False)
    changed.to_parquet(plain / "task-0.parquet", index=False)
    stream = load(plain)
    assert stream.x.shape == before.x.shape
    rows = np.sort(np.concatenate([getattr(stream.tasks[0], part) for part in ("train", "validation", "test")]))
    found = np.sort(stream.x[rows][:, 1].numpy())
    assert np.allclose(found, np.sort(changed["far"].astype("float64").to_numpy()), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("when", [datetime.datetime(2026, 1, 1)] * 40, "timestamp[us]"),
        ("day", [datetime.date(2026, 1, 1)] * 40, "date32[day]"),
        ("colour", pd.Categorical(["red", "blue"] * 20), "string"),
        ("text", ["a"] * 40, "string"),
        ("raw", [b"a"] * 40, "binary"),
        ("place", [{"a": 1.0}] * 40, "struct<a: double>"),
    ],
)
def test_a_column_that_holds_no_numbers_is_named_with_its_file(plain: Path, name: str, values: Any, kind: str) -> None:
    columns = frame(0).to_dict("list")
    pq.write_table(pa.table({**columns, name: pa.array(values)}), plain / "task-0.parquet")
    said = f"task-0.parquet, column `{name}`: it must hold numbers, but its type is {kind}. Convert or drop it."
    line = refused(plain)
    assert said.replace("string", "") in line.replace("large_string", "").replace("string", "").replace("[ns]", "[us]")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0.5, 1.0] * 20, "labels must be whole numbers >= 0, of an integer type, but got float64. Convert y."),
        ([True, False] * 20, "labels must be whole numbers >= 0, of an integer type, but got bool. Convert y."),
        (["a", None] * 20, "column `y`: no value may be missing, but 20 are"),
        ([0, -1] * 20, "labels must be whole numbers >= 0, of an integer type, but got -1. Convert y."),
        ([0, None] * 20, "column `y`: no value may be missing, but 20 are"),
    ],
)
def test_labels_that_are_none_hear_the_same_line_as_elsewhere(plain: Path, labels: list[Any], said: str) -> None:
    table = pa.table({"near": np.arange(40.0), "far": np.arange(40.0), "y": labels})
    pq.write_table(table, plain / "task-0.parquet")
    assert said in refused(plain)


# ------------------------------------------------------------------------------------------------ folders of parts


@pytest.mark.parametrize("name", ["task-{}.parquet", "{}"])
def test_a_folder_of_parts_is_a_task(tmp_path: Path, plain: Path, name: str) -> None:
    """As Spark writes it: with what it leaves beside the parts."""
    folder = tmp_path / "parts"
    for number in range(2):
        task = folder / name.format(number)
        task.mkdir(parents=True)
        for part, rows in enumerate(np.split(np.arange(40), [11, 30])):
            one = frame(2 * number).iloc[rows]
            one.to_parquet(task / f"part-0000{part}-c000.snappy.parquet", index=False)
        for beside in ("_SUCCESS", ".part-00000-c000.snappy.parquet.crc"):
            (task / beside).write_bytes(b"nothing")
    stream = load(folder)
    assert_equal(stream, load(plain))
    assert [task.name for task in stream.tasks] == [name.format(number).removesuffix(".parquet") for number in range(2)]
    assert len(stream.files) == 6
    assert f"{name.format(0)}/part-00000-c000.snappy.parquet" in stream.files


def test_parts_by_split_and_by_class_as_polars_and_dask_write_them(tmp_path: Path) -> None:
    """The value of a column stands in the name of a folder."""
    for number in range(2):
        rows = frame(2 * number).assign(split=["train", "train", "train", "test"] * 10)
        ds.write_dataset(
            pa.Table.from_pandas(rows, preserve_index=False),
            tmp_path / f"task-{number}.parquet",
            format="parquet",
            partitioning=ds.partitioning(pa.schema([("split", pa.string()), ("y", pa.int64())]), flavor="hive"),
        )
    stream = load(tmp_path)
    assert stream.input_shape == (2,)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert [len(task.test) for task in stream.tasks] == [10, 10]


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    task = tmp_path / "task-0.parquet"
    task.mkdir()
    frame(0).to_parquet(task / "part-0.parquet", index=False)
    frame(0).rename(columns={"far": "farther"}).to_parquet(task / "part-1.parquet", index=False)
    said = "columns, but beside part-0.parquet, part-1.parquet lacks `far` and has `farther`. Write them alike."
    assert said in refused(tmp_path)
    frame(0).assign(more=1.0).to_parquet(task / "part-1.parquet", index=False)
    assert "must have the same columns, but beside part-0.parquet, part-1.parquet has `more`." in refused(tmp_path)


def test_parts_with_other_types_are_brought_together(tmp_path: Path) -> None:
    task = tmp_path / "task-0.parquet"
    task.mkdir()
    frame(0, 20).assign(far=1).to_parquet(task / "part-0.parquet", index=False)
    frame(0, 20).assign(far=1.5).to_parquet(task / "part-1.parquet", index=False)
    assert sorted({float(v) for v in load(tmp_path).x[:, 1]}) == [1.0, 1.5]
    frame(0, 20).assign(far="text").to_parquet(task / "part-1.parquet", index=False)
    assert "task-0.parquet: its parts must have the same types" in refused(tmp_path)


def test_folders_of_parts_beside_files_are_refused(plain: Path) -> None:
    (plain / "task-2").mkdir()
    frame(4).to_parquet(plain / "task-2" / "part-0.parquet")
    said = (
        "it holds files such as task-0.parquet beside folders of parts such as task-2, and which of them are tasks is"
    )
    assert said in refused(plain)
    (plain / "task-2").rename(plain / "task-2.parquet")
    assert len(load(plain).tasks) == 3


def test_what_other_tools_leave_beside_the_data_is_passed_over(plain: Path) -> None:
    before = load(plain)
    for name in ("._task-0.parquet", ".task-2.parquet", "_metadata", "._a.npz"):
        (plain / name).write_bytes(b"nothing")
    (plain / "notes").mkdir()
    assert_equal(load(plain), before)
    assert load(plain).files == before.files


# ------------------------------------------------------------------------------------------------ lists and tensors


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"emb": [[1.0, 2.0]] * 40}, "`emb` holds lists of the shape (2,)"),
        ({"img": [[[1.0, 2.0, 3.0]] * 2] * 40}, "`img` holds lists of the shape (2, 3)"),
        ({"p": [[1.0]] * 40, "q": [[1.0, 2.0]] * 40}, "`p` holds lists of the shape (1,)"),
    ],
)
def test_lists_beside_numbers_are_named(plain: Path, columns: dict[str, Any], said: str) -> None:
    rows = frame(0).to_dict("list")
    pq.write_table(pa.table({**rows, **columns}), plain / "task-0.parquet")
    line = refused(plain)
    assert f"task-0.parquet: columns of features must hold one number each, but {said}. " in line
    assert line.endswith("Call it `x` and drop the others, or write a column for each of its values.")


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (2, 6)])
def test_tensors_of_one_shape_keep_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(40, *shape))
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(x)
    pq.write_table(pa.table({"x": tensors, "y": np.arange(40) % 2}), tmp_path / "a.parquet", row_group_size=13)
    stream = load(tmp_path)
    assert stream.input_shape == shape
    found = stream.x.numpy().reshape(40, -1)
    assert np.array_equal(np.unique(found, axis=0), np.unique(x.reshape(40, -1).astype(np.float32), axis=0))


def test_tensors_in_another_order_and_with_holes_are_refused(tmp_path: Path) -> None:
    x = np.zeros((40, 4, 5, 3)).transpose(0, 3, 1, 2)
    columns = {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(x), "y": np.arange(40) % 2}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    said = (
        "column `x`: tensors must lie in memory as their shape says, but theirs is permuted ([1, 2, 0]). Write contig"
    )
    assert said in refused(tmp_path)
    kind = pa.fixed_shape_tensor(pa.float64(), [2])
    storage = pa.array([[1.0, None]] * 40, kind.storage_type)
    pq.write_table(pa.table({**columns, "x": pa.ExtensionArray.from_storage(kind, storage)}), tmp_path / "a.parquet")
    assert "column `x`: no value may be missing, but 40 are" in refused(tmp_path)


# ------------------------------------------------------------------------------------------------ decimal labels


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        (pa.decimal128(5, 0), [0, 1]),
        (pa.decimal128(12, 3), [4, 7]),
        (pa.decimal128(38, 0), [0, 2**53 + 1]),
        (pa.decimal256(60, 2), [3, 2**63 + 5]),
    ],
)
def test_decimals_that_are_whole_numbers_are_labels(tmp_path: Path, kind: pa.DataType, labels: list[int]) -> None:
    y = pa.array([decimal.Decimal(label) for label in labels] * 20, kind)
    pq.write_table(pa.table({"a": np.arange(40.0), "y": y}), tmp_path / "a.parquet")
    stream = load(tmp_path)
    assert (stream.class_ids or (0, 1)) == tuple(labels)
    assert np.array_equal(stream.y.numpy(), stream.x[:, 0].numpy() % 2)


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        (
            pa.decimal128(5, 2),
            "0.50",
            "labels must be whole numbers of at most 64 bits, but some of this decimal128(5, 2) are",
        ),
        (pa.decimal128(38, 0), "1e30", "but some of this decimal128(38, 0) are not. Convert it."),
        (pa.decimal256(60, 1), "1e50", "but some of this decimal256(60, 1) are not. Convert it."),
        (pa.decimal128(5, 0), "-1", "labels must be whole numbers >= 0, of an integer type, but got -1. Convert y."),
    ],
)
def test_other_decimals_are_called_what_they_are(tmp_path: Path, kind: pa.DataType, label: str, said: str) -> None:
    y = pa.array([decimal.Decimal(0), decimal.Decimal(label)] * 20, kind)
    pq.write_table(pa.table({"a": np.arange(40.0), "y": y}), tmp_path / "a.parquet")
    assert said in refused(tmp_path)


def test_a_type_that_arrow_does_not_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers of 128 bits, as Polars writes them, cannot be written here."""

    def unread(*_: Any) -> None:
        raise pa.ArrowNotImplementedError("Integers with more than 64 bits not implemented")

    frame(0).to_parquet(tmp_path / "a.parquet", index=False)
    monkeypatch.setattr(pq, "ParquetFile", unread)
    said = "it holds something that is not read (ArrowNotImplementedError: Integers with more than 64 bits not"
    assert said in refused(tmp_path)
    assert refused(tmp_path).endswith("Write it as another type.")


# ------------------------------------------------------------------------------------------------ what is not finite


@pytest.mark.parametrize(("column", "value"), [("near", np.inf), ("far", -np.inf), ("far", np.nan), ("near", 1e300)])
def test_what_is_not_finite_is_located_by_its_column(plain: Path, column: str, value: float) -> None:
    rows = pd.DataFrame(frame(2))
    rows.loc[5, column] = value
    pq.write_table(pa.table({name: rows[name].to_numpy() for name in rows}), plain / "task-1.parquet")
    said = f"task-1.parquet, train: x must be finite in float32, but column `{column}` of example 5 (from 0) is "
    assert said in refused(plain)
