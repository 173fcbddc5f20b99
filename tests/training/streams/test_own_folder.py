"""Which files and folders are tasks, and what is said of those that are none."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, load_stream


def frame(task: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(task)
    split = np.where(np.arange(n) % 3 == 0, "test", "train")
    return pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc")).assign(
        y=2 * task + np.arange(n) // 2 % 2, split=split
    )


def load(folder: Path) -> Stream:
    return load_stream(StreamConfig(name=str(folder)))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def partitioned(folder: Path, frames: pd.DataFrame, by: list[str]) -> None:
    """As Spark and Arrow write it."""
    pq.write_to_dataset(pa.Table.from_pandas(frames, preserve_index=False), folder, partition_cols=by)


def all_tasks() -> pd.DataFrame:
    return pd.concat([frame(task).assign(task=task) for task in range(3)])


def parquet(path: Path, task: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame(task).to_parquet(path, index=False)


def npz(path: Path, task: int) -> None:
    arrays = {}
    for name, part in frame(task).groupby("split"):
        arrays |= {f"x_{name}": part[list("abc")].to_numpy(), f"y_{name}": part["y"].to_numpy()}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def names(stream: Stream) -> list[str]:
    return [task.name for task in stream.tasks]


def rows(stream: Stream, task: int) -> np.ndarray:
    """All that the stream holds of a task, in any order."""
    of = stream.tasks[task]
    found: np.ndarray = np.unique(stream.x[np.concatenate([of.train, of.validation, of.test])].numpy(), axis=0)
    return found


def expected(task: int) -> np.ndarray:
    found: np.ndarray = np.unique(frame(task)[list("abc")].to_numpy().astype(np.float32), axis=0)
    return found


# ------------------------------------------------------------------------------------------------ partitions


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (
            ["split", "task"],
            "split=train and split=test are parts of one. Give each task one file or folder, with",
        ),
        (["split"], "split=train and split=test are parts of one"),
        (
            ["y"],
            "each folder is one task, but y=0 is a part by `y`. Give each task one file or folder, with",
        ),
        (["y", "task"], "but y=0 is a part by `y`"),
    ],
)
def test_partitions_by_split_or_label_are_no_tasks(tmp_path: Path, by: list[str], said: str) -> None:
    partitioned(tmp_path, all_tasks(), by)
    assert said in refused(tmp_path)
    if by[0] == "split":
        shutil.rmtree(tmp_path / "split=test")
        assert "each folder is one task, but split=train is a part by `split`" in refused(tmp_path)


@pytest.mark.parametrize("pair", [("train.parquet", "test.parquet"), ("test", "TRAIN"), ("part=test", "part=train")])
def test_nor_are_files_and_folders_called_train_and_test(tmp_path: Path, pair: tuple[str, str]) -> None:
    for task, name in enumerate(pair):
        parquet(tmp_path / name / "part-0.parquet" if not name.endswith(".parquet") else tmp_path / name, task)
    line = refused(tmp_path)
    assert "each file or folder is one task, but " in line
    assert all(name in line for name in pair)


@pytest.mark.parametrize("by", [["task"], ["task", "split"], ["task", "y"], ["task", "split", "y"]])
def test_partitions_by_task_are_and_split_and_label_inside_are_columns(tmp_path: Path, by: list[str]) -> None:
    partitioned(tmp_path, all_tasks(), by)
    stream = load(tmp_path)
    assert names(stream) == ["task=0", "task=1", "task=2"]
    assert stream.features == ("a", "b", "c")
    assert stream.test_share == 0.0
    for task in range(3):
        assert np.array_equal(rows(stream, task), expected(task))
        assert stream.tasks[task].classes == (2 * task, 2 * task + 1)
        assert len(stream.tasks[task].test) == 20


def test_any_other_partition_inside_is_a_feature(tmp_path: Path) -> None:
    partitioned(tmp_path, all_tasks().assign(site=lambda of: of["a"].gt(0).astype(int)), ["task", "site"])
    stream = load(tmp_path)
    assert stream.features == ("a", "b", "c", "site")
    found = stream.x.numpy()
    assert np.array_equal(found[:, 3], found[:, 0] > 0)


@pytest.mark.parametrize("inside", [[], ["split"], ["y", "split"]])
def test_examples_without_a_task_are_none(tmp_path: Path, inside: list[str]) -> None:
    without = all_tasks().assign(task=lambda of: of["task"].where(of["task"] != 2))
    partitioned(tmp_path, without, ["task", *inside])
    assert "task=__HIVE_DEFAULT_PARTITION__ holds examples without a task. Give them one, or drop" in refused(tmp_path)


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("write", "called"),
    [
        (parquet, ["0.parquet", "1.PARQUET", "2.parquet"]),
        (parquet, ["0.Parquet", "1.PARQUET", "2.pArquet"]),
        (npz, ["0.npz", "1.NPZ", "2.Npz"]),
        (parquet, ["0.parquet/part-0.PARQUET", "1.PARQUET/part-0.parquet", "2.parquet/part-0.parquet"]),
        (parquet, ["0/a.PARQUET", "1/a.parquet", "2/b.Parquet"]),
    ],
)
def test_suffixes_may_be_capitals(tmp_path: Path, write: object, called: list[str]) -> None:
    for task, name in enumerate(called):
        write(tmp_path / name, task)  # type: ignore[operator]
    stream = load(tmp_path)
    assert names(stream) == ["0", "1", "2"]
    for task in range(3):
        assert np.array_equal(rows(stream, task), expected(task))
    assert set(stream.files) == set(called)


@pytest.mark.parametrize("twins", [("0.npz", "0.parquet"), ("0.PARQUET", "0.parquet"), ("0.NPZ", "0.npz")])
def test_two_tasks_of_one_name_are_refused(tmp_path: Path, twins: tuple[str, str]) -> None:
    for task, name in enumerate((*twins, "1.parquet")):
        (npz if name.lower().endswith("npz") else parquet)(tmp_path / name, task)
    assert f"{twins[0]} and {twins[1]} are two tasks of one name. Rename or drop one." in refused(tmp_path)


def test_a_folder_is_called_by_its_whole_name(tmp_path: Path) -> None:
    for task in range(2):
        parquet(tmp_path / f"v1.{task}" / "part-0.parquet", task)
    assert names(load(tmp_path)) == ["v1.0", "v1.1"]


def test_parts_as_spark_names_them_are_no_tasks(tmp_path: Path) -> None:
    for part in range(4):
        parquet(tmp_path / f"part-0000{part}-30e84ac0-af21-45b1-9e92-a176b681e457-c000.snappy.parquet", part)
    line = refused(tmp_path)
    assert "each file is one task, but part-00000-30e84ac0" in line
    assert line.endswith("is named as a part of what Spark wrote. Give each task a folder, with its parts inside it.")
    (tmp_path / "task-0").mkdir()
    for path in tmp_path.glob("part*"):
        path.rename(tmp_path / "task-0" / path.name)
    assert names(load(tmp_path)) == ["task-0"]


@pytest.mark.parametrize("n", [8, 10, 12])
def test_where_there_are_too_few_examples_it_is_said_that_each_file_is_a_task(tmp_path: Path, n: int) -> None:
    """Other tools name parts in other ways."""
    for part in range(2):
        frame(0, 60).iloc[part * n : (part + 1) * n].to_parquet(tmp_path / f"{part:08d}.parquet", index=False)
    line = refused(tmp_path)
    assert "too few examples of class" in line
    assert line.endswith("(Each file is one task; the parts of a task lie in a folder of its own.)")


# ------------------------------------------------------------------------------------------------ what is not there


@pytest.mark.parametrize("name", ["2.parquet", "2.npz", "2"])
@pytest.mark.parametrize("kind", ["dangling", "loop"])
def test_a_link_to_nothing_is_named(tmp_path: Path, name: str, kind: str) -> None:
    for task in range(2):
        parquet(tmp_path / (f"{task}/part.parquet" if name == "2" else f"{task}.parquet"), task)
    (tmp_path / name).symlink_to(name if kind == "loop" else "nowhere")
    assert f", {name}: it cannot be read (a link to nothing). Mend or drop it." in refused(tmp_path)


@pytest.mark.parametrize("name", ["2.parquet", "2.npz", "2/part.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    for task in range(2):
        parquet(tmp_path / (f"{task}/part.parquet" if "/" in name else f"{task}.parquet"), task)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    assert "a pipe, socket or device, and no file). Mend or drop it." in refused(tmp_path)


@pytest.mark.parametrize("kind", ["dangling", "loop"])
def test_so_is_one_among_the_parts(tmp_path: Path, kind: str) -> None:
    for task in range(2):
        parquet(tmp_path / f"{task}" / "part-0.parquet", task)
    (tmp_path / "1" / "part-1.parquet").symlink_to("part-1.parquet" if kind == "loop" else "nowhere")
    assert ", 1: it cannot be read (part-1.parquet: " in refused(tmp_path)


def test_links_that_lead_somewhere_are_followed(tmp_path: Path) -> None:
    for task in range(2):
        parquet(tmp_path / "elsewhere" / f"{task}.parquet", task)
    (tmp_path / "stream").mkdir()
    for task in range(2):
        (tmp_path / "stream" / f"{task}.parquet").symlink_to(tmp_path / "elsewhere" / f"{task}.parquet")
    assert names(load(tmp_path / "stream")) == ["0", "1"]


def test_a_task_without_parts_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "0.parquet", 0)
    (tmp_path / "1.parquet").mkdir()
    assert ", 1.parquet: the folder holds no .parquet file. Add one, or drop the folder." in refused(tmp_path)


# ------------------------------------------------------------------------------------------------ test data


def test_whether_cfsweep_drew_the_test_data_is_known(tmp_path: Path) -> None:
    for task in range(2):
        frame(task).drop(columns="split").to_parquet(tmp_path / f"{task}.parquet", index=False)
    assert load(tmp_path).test_share == 0.2
    assert [len(task.test) for task in load(tmp_path).tasks] == [12, 12]
    frame(1).to_parquet(tmp_path / "1.parquet", index=False)
    assert "all tasks must have test data or none, but `0` lack what `1` have. Give them some" in refused(tmp_path)
    frame(0).to_parquet(tmp_path / "0.parquet", index=False)
    assert load(tmp_path).test_share == 0.0
    assert load_stream(StreamConfig(name="split-digits")).test_share == 0.0


@pytest.mark.parametrize("only", ["train", "test"])
@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_a_split_of_one_kind_alone_is_none(tmp_path: Path, only: str, which: list[int]) -> None:
    for task in range(2):
        of = frame(task)
        (of[of["split"] == only] if task in which else of).to_parquet(tmp_path / f"{task}.parquet", index=False)
    n = {"train": 40, "test": 20}[only]
    said = (
        f", {which[0]}.parquet, column `split`: a task needs rows of `train` and of `test`, but all {n} are `{only}`."
    )
    assert said in refused(tmp_path)


@pytest.mark.parametrize("name", ["0.parquet.gz", "0.npz.zip", "0.PARQUET.ZST", "0.pq"])
def test_a_task_under_another_name_is_not_passed_over(tmp_path: Path, name: str) -> None:
    parquet(tmp_path / "1.parquet", 1)
    parquet(tmp_path / "2.parquet", 0)
    (tmp_path / name).write_bytes(b"packed")
    assert f"{name}: only .npz and .parquet are read. Unpack or rename it." in refused(tmp_path)
    (tmp_path / name).rename(tmp_path / "1.parquet.sha256")
    assert len(load(tmp_path).tasks) == 2


@pytest.mark.parametrize("inside", ["train", "Test"])
def test_folders_in_a_task_that_do_not_say_which_column_they_are_of(tmp_path: Path, inside: str) -> None:
    for task in range(2):
        parquet(tmp_path / f"{task}.parquet" / inside / "part-0.parquet", task)
    assert f"0.parquet: a folder {inside} says nothing to Parquet. Call it split={inside}." in refused(tmp_path)


@pytest.mark.parametrize("log", ["_delta_log/0.json", "metadata/v1.metadata.json"])
def test_tables_with_a_log_are_refused(tmp_path: Path, log: str) -> None:
    for task in range(2):
        parquet(tmp_path / f"{task}.d" / "part-0.parquet", task)
    (tmp_path / "0.d" / log).parent.mkdir()
    (tmp_path / "0.d" / log).write_text("{}")
    assert "0.d: it is a table with a log of what was deleted, which is not read. Export it first." in refused(tmp_path)


# ------------------------------------------------------------------------------------------------ the test examples


def test_the_digest_of_a_tasks_test_examples(tmp_path: Path) -> None:
    """It is of what is tested and what that is called: no further task changes it, and no other training example."""

    def written(name: str, *tasks: dict[str, list[int]]) -> Stream:
        folder = tmp_path / name
        folder.mkdir()
        for number, task in enumerate(tasks):
            arrays = {}
            for part in ("train", "test"):
                labels = np.array(task[part])
                arrays |= {f"x_{part}": np.stack([np.arange(len(labels)), labels], 1), f"y_{part}": labels}
            np.savez(folder / f"{number}.npz", **arrays)
        return load(folder)

    cats = {"train": [10] * 9 + [11] * 9, "test": [10, 11, 11]}
    alone = written("alone", cats)
    assert alone.user_labels(alone.tasks[0].test) == [10, 11, 11]
    more = written("more", cats, {"train": [3] * 9 + [4] * 9, "test": [3, 4]})
    assert more.tasks[0].classes != alone.tasks[0].classes
    assert more.test_sha256(0) == alone.test_sha256(0) != more.test_sha256(1)
    assert written("longer", {**cats, "train": [10] * 20 + [11] * 20}).test_sha256(0) == alone.test_sha256(0)
    assert written("turned", {**cats, "test": [11, 10, 11]}).test_sha256(0) != alone.test_sha256(0)
    called, x = replace(alone, class_ids=(10, 12)), alone.x.clone()
    assert called.test_sha256(0) != alone.test_sha256(0)
    x[alone.tasks[0].test[0]] += 1
    assert replace(alone, x=x).test_sha256(0) != alone.test_sha256(0)
    assert replace(alone, x=x.to(torch.uint8)).test_sha256(0) != replace(alone, x=x).test_sha256(0)
