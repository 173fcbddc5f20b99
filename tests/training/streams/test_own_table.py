"""One table as a stream: its tasks, their order, what is cut, and that no number comes from a row that scores."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cfsweep.errors import InputError
from cfsweep.training.streams import Preprocessing, Stream
from tests.training.streams.tables import as_csv, as_parquet, load, months


def refused(path: Path, args: dict[str, Any] | None = None, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(path, args, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def state_of(stream: Stream) -> Preprocessing:
    assert stream.preprocessing is not None
    return stream.preprocessing


def table_rows(stream: Stream, frame: pd.DataFrame) -> np.ndarray:
    """For each example its row in the table, told by a column `id` that is a feature of its own and not moved."""
    place = stream.features.index("id")
    fitted = state_of(stream).fitted[0][state_of(stream).names.index("id")]
    assert fitted is not None
    found = stream.x[:, place].double().numpy() * fitted.scale + fitted.mean
    assert len(found) == len(frame)
    return np.rint(found).astype(np.int64)


def with_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(id=np.arange(len(frame)))


# ------------------------------------------------------------------------------------------------ the transformation


def twin(frame: pd.DataFrame, first: np.ndarray, fit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The slow and obvious way: scikit-learn's transformers, moments of the rows `fit`, words and gaps of `first`."""
    found = []
    for name in frame.columns:
        if name == "plan":
            words = frame[["plan"]].fillna("\uffff").to_numpy()
            hot = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(words[first]).transform(words[rows])
            found += [hot, 1 - hot.sum(1, keepdims=True)]
        else:
            days = (frame[name] - pd.Timestamp(0)) / pd.Timedelta(days=1) if name == "since" else frame[name]
            of = days.to_numpy(float)[:, None]
            filled = SimpleImputer(strategy="constant", fill_value=0, add_indicator=True).fit(of[first])
            found.append(filled.transform(StandardScaler().fit(of[fit]).transform(of[rows])))
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("preprocessing", ["first", "past"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_become_what_scikit_learn_makes_of_them(
    tmp_path: Path, suffix: str, preprocessing: str, seed: int
) -> None:
    frame = with_id(months(0, 3, seed=seed))
    frame.loc[(frame["month"] == "2024-03") & (frame["id"] % 2 == 0), "plan"] = "new"
    if seed % 2:  # gaps that came later
        frame.loc[frame["month"] == "2024-01", "age"] = 1.5 + frame["id"] % 7
    write = as_csv if suffix == "csv" else as_parquet
    path = write(frame, tmp_path / f"t.{suffix}")
    ids = table_rows(load(path, {"drop": ["day"]}), frame)  # the cut knows nothing of features
    stream = load(path, {"preprocessing": preprocessing, "drop": ["day", "id"]}, validation_frac=0.1)
    features = frame.drop(columns=["month", "day", "churned", "id"])
    train = [ids[task.train] for task in stream.tasks]
    for number, task in enumerate(stream.tasks):
        own = np.concatenate(list(task.parts.values()))
        fit = train[0] if preprocessing == "first" else np.concatenate(train[: number + 1])
        expected = twin(features, train[0], fit, ids[own])
        assert stream.x[own].shape == expected.shape
        assert np.allclose(stream.x[own].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert ("plan=(missing)" in stream.features) == bool(features["plan"].iloc[train[0]].isna().any())


@pytest.mark.parametrize("preprocessing", ["first", "past"])
@pytest.mark.parametrize("args", [{}, {"date": "day"}])
def test_no_row_that_scores_and_no_later_month_moves_a_number(
    tmp_path: Path, args: dict[str, Any], preprocessing: str
) -> None:
    """All rows that are not to be looked at are changed wildly: what was fitted and earlier rows stay, to the bit."""
    frame, args = with_id(months(0, 4)), {"preprocessing": preprocessing, **args}
    plain = load(as_csv(frame, tmp_path / "plain.csv"), args, steering_frac=0.2)
    ids = table_rows(load(tmp_path / "plain.csv", {**args, "preprocessing": "first"}, steering_frac=0.2), frame)
    for until in range(4):
        seen = np.concatenate([ids[task.train] for task in plain.tasks[: until + 1]])
        wild = frame.copy()
        others = ~np.isin(np.arange(len(frame)), seen)
        wild.loc[others, "age"] = 1e30
        wild.loc[others, "income"] = np.nan
        wild.loc[others, "plan"] = [f"word {k}" for k in range(others.sum())]
        wild.loc[others, "member"] = True
        wild.loc[others, "since"] = pd.Timestamp(1900, 1, 1)
        stream = load(as_csv(wild, tmp_path / "wild.csv"), args, steering_frac=0.2)
        before, after = state_of(plain), state_of(stream)
        assert after.columns == before.columns
        assert after.fitted[: until + 1] == before.fitted[: until + 1], "moments are of these rows alone"
        for one, other in zip(stream.tasks[: until + 1], plain.tasks[: until + 1], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one.parts.values(), other.parts.values(), strict=True))
            assert torch.equal(stream.x[one.train], plain.x[other.train])
        assert not torch.equal(stream.x[plain.tasks[until].test], plain.x[plain.tasks[until].test])
        changed = wild.assign(age=wild["age"].where(others, wild["age"] + 1))  # and it would be seen
        again = state_of(load(as_csv(changed, tmp_path / "wild.csv"), args, steering_frac=0.2))
        assert again.fitted[0] != before.fitted[0]


def test_of_several_splits_a_row_must_be_training_data_in_each(tmp_path: Path) -> None:
    frame = with_id(months(0, 2))
    stream = load(as_csv(frame, tmp_path / "t.csv"), splits=3)
    ids = table_rows(stream, frame)
    held_out = {row for k in range(3) for row in ids[stream.of_split(k).tasks[0].validation]}
    shared = [row for row in ids[stream.tasks[0].train] if row not in held_out]
    fitted = state_of(stream).fitted[0][state_of(stream).names.index("income")]
    assert fitted is not None
    assert fitted.n == len(shared) < len(stream.tasks[0].train)
    assert fitted.mean == pytest.approx(frame["income"].iloc[shared].mean())
    line = refused(tmp_path / "t.csv", splits=200, validation_frac=0.4)
    assert "must be training data in all 200 splits" in line


# ------------------------------------------------------------------------------------------------ tasks and parts


def test_csv_and_parquet_are_one_stream(tmp_path: Path) -> None:
    frame = months(0, 3)
    one, other = load(as_csv(frame, tmp_path / "t.csv")), load(as_parquet(frame, tmp_path / "t.parquet"))
    assert one.digest == other.digest
    assert one.class_ids == other.class_ids == ("left", "stayed")
    assert [task.name for task in one.tasks] == ["2024-01", "2024-02", "2024-03"]
    for suffix, write in (("csv", as_csv), ("parquet", as_parquet)):
        folder = tmp_path / suffix
        folder.mkdir()
        write(frame[:50], folder / f"part-0.{suffix}")
        write(frame[50:], folder / f"part-1.{suffix}")
        parts = load(folder)
        assert parts.digest == one.digest
        assert sorted(parts.files) == [f"{suffix}/part-0.{suffix}", f"{suffix}/part-1.{suffix}"]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        ((10, 9, 100), ["9", "10", "100"]),
        (("week 10", "week 9", "week 9b"), ["week 9", "week 9b", "week 10"]),
        (("north", "east", "west 2"), ["north", "east", "west 2"]),
        (("2024-02", "2023-11", "2024-01"), ["2023-11", "2024-01", "2024-02"]),
    ],
)
def test_tasks_come_in_natural_order(tmp_path: Path, names: tuple[Any, ...], order: list[str]) -> None:
    frame = months(0, 3)
    frame["month"] = frame["month"].map(dict(zip(sorted(frame["month"].unique()), names, strict=True)))
    assert [task.name for task in load(as_csv(frame, tmp_path / "t.csv")).tasks] == order


def test_a_date_orders_a_task_and_what_is_held_out_is_the_latest(tmp_path: Path) -> None:
    frame = with_id(months(0, 2))
    shuffled = frame.sample(frac=1, random_state=0)
    stream = load(as_csv(shuffled, tmp_path / "t.csv"), {"date": "day"}, steering_frac=0.15, validation_frac=0.2)
    assert stream.validation == "latest"
    assert not any("day" in name for name in stream.features)
    ids = table_rows(stream, shuffled)
    for task in stream.tasks:
        days = [frame["day"].iloc[ids[part]] for part in (task.train, task.steering, task.validation, task.test)]
        assert all(one.max() <= other.min() for one, other in pairwise(days))
        n = sum(map(len, days))
        n_test = int(0.2 * n + 0.5)
        n_validation, n_steering = (int(share * (n - n_test) + 0.5) for share in (0.2, 0.15))
        assert [len(of) for of in days] == [n - n_test - n_validation - n_steering, n_steering, n_validation, n_test]
    by_chance = load(tmp_path / "t.csv", {"date": "day"}, validation="random")
    assert by_chance.validation == "random"
    assert "`splits` must be 1" in refused(tmp_path / "t.csv", {"date": "day"}, splits=2)


@pytest.mark.parametrize("windows", [3, ["2024-01-01", "2024-02-01", "2024-03-01"]])
def test_windows_of_a_date_are_tasks(tmp_path: Path, windows: Any) -> None:
    frame = months(0, 3).drop(columns="month").sample(frac=1, random_state=1)
    stream = load(as_csv(frame, tmp_path / "t.csv"), {"task": None, "date": "day", "windows": windows})
    state = state_of(stream)
    starts = pd.to_datetime(pd.Series(state.starts))
    assert [task.name for task in stream.tasks] == list(state.starts)
    assert state.until == str(frame["day"].max().date())
    if windows == 3:
        first, last = frame["day"].min(), frame["day"].max()
        for k, start in enumerate(starts):
            assert first + (last - first) * k / 3 <= start < first + (last - first) * k / 3 + pd.Timedelta(days=1)
    for k, task in enumerate(stream.tasks):
        inside = frame["day"] >= starts[k]
        inside &= frame["day"] < starts[k + 1] if k < 2 else True
        assert sum(map(len, task.parts.values())) == inside.sum()
    empty = {"task": None, "date": "day", "windows": ["2024-01-01", "2024-01-29", "2024-02-01"]}
    line = refused(tmp_path / "t.csv", empty)
    assert "each window needs rows, but that from 2024-01-29 to 2024-02-01 has none" in line
    late = refused(tmp_path / "t.csv", {"task": None, "date": "day", "windows": ["2024-01-20", "2024-02-01"]})
    assert "column `day`, row " in late
    assert "dates must not be before the first window, 2024-01-20" in late


def test_a_column_says_what_is_test_data_and_a_month_may_lack_a_class(tmp_path: Path) -> None:
    frame = months(0, 3).assign(part="train", churned=lambda f: f["churned"].where(f["month"] != "2024-02", "stayed"))
    frame.loc[frame.index % 4 == 0, "part"] = "test"
    stream = load(as_csv(frame, tmp_path / "t.csv"), {"split": "part"})
    assert [task.classes for task in stream.tasks] == [(0, 1), (1,), (0, 1)]
    assert stream.test_share == 0
    assert sum(len(task.test) for task in stream.tasks) == (frame["part"] == "test").sum()
    frame.loc[3, "part"] = "validate"
    as_csv(frame, tmp_path / "t.csv")
    assert "column `part`, row 4: each row must say `train` or `test`" in refused(tmp_path / "t.csv", {"split": "part"})
    frame.loc[frame["month"] == "2024-03", "part"] = "train"
    frame.loc[3, "part"] = "train"
    as_csv(frame, tmp_path / "t.csv")
    assert "task `2024-03`: each task needs rows of `train` and of `test`, but none is `test`" in refused(
        tmp_path / "t.csv", {"split": "part"}
    )


# ------------------------------------------------------------------------------------------------ labels and words


def test_labels_are_numbers_or_words_and_one_is_not_the_other(tmp_path: Path) -> None:
    frame = months(0, 2)
    frame["churned"] = np.where(frame["churned"] == "left", "1", "7")
    assert load(as_csv(frame, tmp_path / "t.csv")).class_ids == (1, 7)
    assert load(tmp_path / "t.csv", {"types": {"churned": "category"}}).class_ids == ("1", "7")
    assert load(as_parquet(frame.astype({"churned": int}), tmp_path / "t.parquet")).class_ids == (1, 7)
    assert load(as_parquet(frame, tmp_path / "t.parquet")).class_ids == ("1", "7"), "Parquet knows its words"
    frame["churned"] = frame["churned"].replace("1", "001")
    line = refused(as_csv(frame, tmp_path / "t.csv"))
    assert "labels must be words or whole numbers >= 0, but got `001`" in line
    frame["churned"] = frame["churned"].replace("001", "maybe")
    assert load(as_csv(frame, tmp_path / "t.csv")).class_ids == ("7", "maybe")
    frame["churned"] = frame["churned"] == "7"
    assert load(as_parquet(frame, tmp_path / "t.parquet")).class_ids == ("False", "True")


def test_an_unknown_word_shares_a_column_or_is_refused(tmp_path: Path) -> None:
    frame = months(0, 2).fillna({"plan": "plus"})
    frame.loc[len(frame) - 2, "plan"] = "new"
    path = as_csv(frame, tmp_path / "t.csv")
    stream = load(path)
    place = stream.features.index("plan=(other)")
    assert stream.x[:, place].sum() == 1
    assert any("`new` not in the training rows of the first task; 1 rows" in note for note in stream.notes)
    line = refused(path, {"unknown": "refuse"})
    assert f"t.csv`, column `plan`, row {len(frame) - 1}: words must be among those of the first task" in line
    assert "but got `new`" in line
    strict = load(as_csv(frame.replace("new", "plus"), path), {"unknown": "refuse"})
    assert "plan=(other)" not in strict.features


def test_gaps_that_come_later_get_the_mean_and_a_note(tmp_path: Path) -> None:
    frame = months(0, 2)
    frame.loc[len(frame) - 1, "income"] = np.nan
    stream = load(as_csv(frame, tmp_path / "t.csv"))
    assert any("column `income`: 1 gaps" in note for note in stream.notes)
    assert "income=(missing)" not in stream.features
    assert (stream.x[:, stream.features.index("income")] == 0).sum() == 1


# ------------------------------------------------------------------------------------------------ what is refused

CELLS: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "word": ("age", "old", {"types": {"age": "number"}}, "column `age`, row 3: numbers are needed, but got `old`"),
    "infinite": ("income", "1e999", {}, "column `income`, row 3: numbers are needed, but got `1e999`"),
    "boolean": ("member", "maybe", {"types": {"member": "boolean"}}, "column `member`, row 3: true or false is needed"),
    "date": ("since", "31.1.2024", {"types": {"since": "date"}}, "column `since`, row 3: dates as 2024-01-31"),
    "no date": ("day", "", {"date": "day"}, "column `day`, row 3: each row must have its date, but this one has none"),
    "too large": (
        "income",
        "-1e200",
        {},
        "column `income`, row 3: numbers up to 1e+150 are needed, but got `-1e+200`.",
    ),
    "no task": ("month", "", {}, "column `month`, row 3: each row must say its task, but this one does not"),
    "no label": ("churned", "", {}, "column `churned`, row 3: each row must have a label, but this one has none"),
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_that_does_not_fit_is_named(tmp_path: Path, cell: str) -> None:
    column, value, args, said = CELLS[cell]
    frame = months(0, 2).astype(object).where(lambda f: f.notna(), "")
    frame.loc[2, column] = value
    line = refused(as_csv(frame, tmp_path / "t.csv"), args)
    assert line.startswith(f"stream `{tmp_path}/t.csv`, ")
    assert said in line
    folder = tmp_path / "parts"
    folder.mkdir()
    as_csv(frame[2:], folder / "b.csv")
    as_csv(months(0, 2)[:2], folder / "a.csv")
    assert f", b.csv, column `{column}`, row 1: " in refused(folder, args)


def test_a_later_value_that_does_not_fit_the_first_month_is_named(tmp_path: Path) -> None:
    frame = months(0, 2).astype({"income": object})
    frame.loc[len(frame) - 1, "income"] = "a lot"
    line = refused(as_csv(frame, tmp_path / "t.csv"))
    assert f"column `income`, row {len(frame)}: numbers are needed, but got `a lot`" in line
    assert "--arg 'types={income: category}'" in line


ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"targt": "churned"}, "unknown argument `targt`. Known, closest first: target"),
    ({"target": "chrned"}, "unknown column `chrned`. Known, closest first: churned"),
    ({"task": None}, "what is a task must be said"),
    ({"task": None, "date": "day"}, "what is a task must be said"),
    ({"windows": 3, "date": "day"}, "`windows` make the tasks, but so does `task`"),
    ({"windows": 0, "task": None, "date": "day"}, "`windows` should be"),
    ({"task": "churned"}, "`churned` is both `target` and `task`"),
    ({"drop": ["month"]}, "`month` is both `task` and `drop`"),
    ({"types": {"month": "number"}}, "`types` are of features, but `month` is `task`"),
    ({"types": {"age": "word"}}, "should be 'number', 'category', 'boolean', 'date' or 'text', but got 'word'"),
    ({"types": {"churned": "number"}}, "the label may be `category`"),
    ({"preprocessing": "all"}, "`preprocessing` should be 'first' or 'past', but got 'all'"),
    ({"drop": ["age", "income", "plan", "member", "since", "day"]}, "a table needs a column that is a feature"),
]


@pytest.mark.parametrize(("args", "said"), ARGUMENTS)
def test_arguments_that_do_not_fit_are_told(tmp_path: Path, args: dict[str, Any], said: str) -> None:
    path = tmp_path / "t.csv"
    path = path if path.exists() else as_csv(months(0, 2), path)
    assert said in refused(path, args)


def test_settings_that_do_not_fit_a_table_are_told(tmp_path: Path) -> None:
    path = as_csv(months(0, 2), tmp_path / "t.csv")
    assert "`standardise` must be none, but got feature" in refused(path, standardise="feature")
    assert "`class_order` must be `fixed`" in refused(path, class_order=3)
    assert "it has 2 tasks, but got n_tasks=3" in refused(path, n_tasks=3)
    assert load(path, standardise="none").digest == load(path).digest


def test_files_that_are_no_table_are_told(tmp_path: Path) -> None:
    frame = months(0, 2)
    path = tmp_path / "t.csv"
    path.write_text("month,churned,age\n2024-01,left,1\n2024-01,left\n")
    assert "t.csv`, row 2: each row must have the 3 columns of the first line, but it has 2" in refused(path)
    path.write_text("month;churned\n1;2\n")
    assert "columns must be parted by commas, but its first line is `month;churned`" in refused(path)
    path.write_text(f"month,churned,age\n2024-01,left,{'x' * 3_000_000}\n2024-01,left,1\n")
    assert "a row must take less than 1 MiB, but one takes more, or a quotation mark" in refused(path)
    path.write_text(f"month,churned,{'x' * 3_000_000}\n2024-01,left,1\n")
    assert "the names in its first line are too long" in refused(path)
    path.write_text("month,churned,age,age\n")
    assert "a column name stands once, but `age` stands twice" in refused(path)
    for no_rows in ("month,churned,age\n", "month,churned,age"):
        path.write_text(no_rows)
        assert "a table needs rows, but there is none" in refused(path)
    path.write_bytes("month,churned,ort\n1,2,Köln\n".encode("latin-1"))
    assert "its text must be UTF-8" in refused(path)
    whole = pa.array([b"a", b"\xff\xfe"] * 30, pa.binary())
    no_text = pa.Array.from_buffers(pa.string(), len(whole), whole.buffers())
    months_of = {"month": ["1"] * 30 + ["2"] * 30, "churned": ["left", "stayed"] * 30, "plan": no_text}
    pq.write_table(pa.table(months_of), tmp_path / "t.parquet")
    assert "column `plan`: its text must be UTF-8" in refused(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    assert "the file is truncated or not what its name says" in refused(tmp_path / "t.parquet")
    folder = tmp_path / "mixed"
    folder.mkdir()
    as_csv(frame, folder / "a.csv")
    as_parquet(frame, folder / "b.parquet")
    assert "the parts of a table must be of one kind, but are .csv, .parquet" in refused(folder)
    (folder / "b.parquet").unlink()
    as_csv(frame.drop(columns="age"), folder / "b.csv")
    assert "its parts must have the same columns, but beside a.csv, b.csv lacks `age`" in refused(folder)


def test_an_index_that_pandas_wrote_is_no_feature(tmp_path: Path) -> None:
    frame = months(0, 2)
    plain = load(as_csv(frame, tmp_path / "t.csv"))
    frame.to_csv(tmp_path / "i.csv")
    frame.to_parquet(tmp_path / "i.parquet", index=True)
    assert load(tmp_path / "i.csv").digest == load(tmp_path / "i.parquet").digest == plain.digest


def test_a_column_without_a_value_in_the_first_month_or_with_too_many_words_is_told(tmp_path: Path) -> None:
    frame = months(0, 2).assign(late=np.nan)
    frame.loc[frame["month"] == "2024-02", "late"] = 3.0
    path = as_csv(frame, tmp_path / "t.csv")
    assert "column `late`: it has no value in the training rows of the first task" in refused(path)
    assert "column `late`" in refused(path, {"types": {"late": "number"}})
    past = load(path, {"types": {"late": "number"}, "preprocessing": "past"})
    place = past.features.index("late")
    assert (past.x[past.tasks[1].train][:, place] == 0).all(), "one value is its own mean"
    assert "late=(missing)" in past.features
    frame = months(0, 1, rows=1500).assign(name=lambda f: [f"n{k}" for k in range(len(f))])
    path = as_csv(frame, tmp_path / "t.csv")
    assert "different words in" in refused(path)
    assert len(load(path, {"types": {"name": "category"}}).features) > 1000


def test_amounts_are_learned_of_a_column_of_numbers(tmp_path: Path) -> None:
    frame = with_id(months(0, 2))
    path, args = as_csv(frame, tmp_path / "t.csv"), {"target": "income", "drop": ["churned"]}
    stream = load(path, args, target="regression")
    ids = table_rows(stream, frame)
    assert stream.class_ids == ()
    assert np.array_equal(stream.y[:, 0].numpy(), frame["income"].to_numpy()[ids])
    assert not any("income" in name for name in stream.features)
    latest = load(path, {**args, "date": "day"}, target="regression")
    days = frame["day"].iloc[table_rows(latest, frame)].to_numpy()
    assert all(days[task.train].max() <= days[task.test].min() for task in latest.tasks)
    frame.loc[3, "income"] = np.nan
    line = refused(as_csv(frame, path), args, target="regression")
    assert "column `income`, row 4: each row must have an amount to learn, but this one has none" in line
    assert "must be classification or regression, but got multi-label" in refused(path, args, target="multi-label")
