"""Data sets of Hugging Face's package as streams: such as are made here and saved to the disk."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cfsweep.config import Space, StreamConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.parsing import make_config
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams.hugging_face import task_of_dataset
from tests.training.streams.pictures import picture, write_classes

WORDS = ["zebra", "ant", "cow", "bee"]  # in an order of their own


@pytest.fixture
def hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, its caches and ours in a folder of the test."""
    found = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'cfsweep[datasets]'")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    return found


def load(path: Path, **given: Any) -> Stream:
    args = {key: given.pop(key) for key in ("x", "y", "task", "size", "mode", "tasks") if key in given}
    return load_stream(StreamConfig(name=f"hf:{path}", args=args, **given))


def images(hf: Any, n: int = 48, seed: int = 0) -> Any:
    """Images of four classes in turns, called by words, of two months."""
    rows = {
        "image": [Image.fromarray(picture(1000 * seed + k, bright=60 * (k % 4) % 200)) for k in range(n)],
        "label": [k % 4 for k in range(n)],
        "month": ["month-10" if k % 8 < 4 else "month-9" for k in range(n)],
    }
    kinds = {"image": hf.Image(), "label": hf.ClassLabel(names=WORDS), "month": hf.Value("string")}
    return hf.Dataset.from_dict(rows, features=hf.Features(kinds))


def numbers(hf: Any, n: int = 60, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    labels = np.resize([4, 2, 7], n)
    rows = {
        "a": labels + rng.normal(size=n),
        "b": rng.normal(size=n),
        "kind": labels,
        "year": np.repeat([10, 9], n // 2),
    }
    return hf.Dataset.from_dict({**rows, "pair": rng.normal(size=(n, 2, 3)).tolist()})


def test_classes_of_images_are_cut_in_the_data_sets_own_order(hf: Any, tmp_path: Path) -> None:
    data = images(hf)
    data.save_to_disk(tmp_path / "saved")
    stream = load(tmp_path / "saved", n_tasks=2)
    assert [(task.name, task.classes) for task in stream.tasks] == [("zebra, ant", (0, 1)), ("cow, bee", (2, 3))]
    assert (tuple(stream.x.shape), stream.x.dtype) == ((48, 3, 8, 8), torch.uint8)
    for k in range(48):
        assert np.array_equal(stream.x[k].numpy(), np.transpose(np.asarray(data[k]["image"]), (2, 0, 1)))
    assert stream.y.tolist() == [k % 4 for k in range(48)]
    assert stream.test_share == 0.2
    assert list(stream.files) == ["images of zebra, ant", "images of cow, bee", "pixels as read"]
    assert load(tmp_path / "saved", tasks=[["bee"], ["ant", "zebra", "cow"]]).tasks[0].name == "bee"
    assert load(tmp_path / "saved", n_tasks=2, size=4, mode="grey").input_shape == (1, 4, 4)


def test_a_column_says_the_task(hf: Any, tmp_path: Path) -> None:
    images(hf).save_to_disk(tmp_path / "saved")
    stream = load(tmp_path / "saved", task="month")
    assert [task.name for task in stream.tasks] == ["month-9", "month-10"]
    assert [task.classes for task in stream.tasks] == [(0, 1, 2, 3)] * 2


def test_a_split_for_test_is_one(hf: Any, tmp_path: Path) -> None:
    parts = hf.DatasetDict({"train": images(hf), "validation": images(hf, 8, seed=1)})
    parts.save_to_disk(tmp_path / "saved")
    stream = load(tmp_path / "saved", n_tasks=2)
    assert [len(task.test) for task in stream.tasks] == [4, 4]
    test = sorted(x.numpy().tobytes() for task in stream.tasks for x in stream.x[task.test])
    given = parts["validation"]
    assert test == sorted(np.transpose(np.asarray(row["image"]), (2, 0, 1)).tobytes() for row in given)
    hf.DatasetDict({**parts, "test": parts["validation"]}).save_to_disk(tmp_path / "three")
    refused(tmp_path / "three", "a split `train` and one `test` (or `validation`) are needed, but it has train, valid")


def test_a_folder_of_images_is_what_load_dataset_makes_of_it(hf: Any, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "folder", ["a", "b"])
    ours, theirs = load_stream(StreamConfig(name=str(folder), n_tasks=1)), load(folder, n_tasks=1)
    assert sorted(x.numpy().tobytes() for x in theirs.x) == sorted(x.numpy().tobytes() for x in ours.x)
    assert theirs.tasks[0].name == "a, b"


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_columns_of_numbers_in_a_file(hf: Any, tmp_path: Path, suffix: str) -> None:
    data = numbers(hf).remove_columns("pair")
    getattr(data, f"to_{suffix}")(tmp_path / f"table.{suffix}")
    stream = load(tmp_path / f"table.{suffix}", x=["b", "a"], y="kind", task="year")
    assert [task.name for task in stream.tasks] == ["9", "10"]
    assert (stream.features, stream.class_ids) == (("b", "a"), (2, 4, 7))
    rows = np.stack([data["b"][30:], data["a"][30:]], 1).astype(np.float32)
    first = np.concatenate(list(stream.tasks[0].parts.values()))
    assert sorted(map(tuple, stream.x.numpy()[first].tolist())) == sorted(map(tuple, rows.tolist()))
    cut = load(tmp_path / f"table.{suffix}", x=["a"], y="kind", tasks=[["7"], ["2", "4"]])
    assert [(task.name, task.classes) for task in cut.tasks] == [("7", (2,)), ("2, 4", (0, 1))]
    assert load(tmp_path / f"table.{suffix}", x="a", y="kind", n_tasks=3, class_order=1).input_shape == (1,)


def test_a_column_of_lists_and_classes_that_are_words(hf: Any, tmp_path: Path) -> None:
    data = numbers(hf)
    data = data.add_column("word", [{2: "two", 4: "four", 7: "seven"}[label] for label in data["kind"]])
    hf.DatasetDict({"train": data, "test": data.select(range(30))}).save_to_disk(tmp_path / "saved")
    stream = load(tmp_path / "saved", x="pair", y="word", n_tasks=3)
    assert stream.input_shape == (2, 3)
    assert [task.name for task in stream.tasks] == ["four", "seven", "two"]
    assert [len(task.test) for task in stream.tasks] == [10, 10, 10]


def test_the_next_task_is_all_that_there_is(hf: Any, tmp_path: Path) -> None:
    data = images(hf).rename_column("image", "x")
    data.save_to_disk(tmp_path / "march")
    config = StreamConfig(name=f"hf:{tmp_path / 'march'}", args={"x": "x", "size": 4})
    found = task_of_dataset(config)
    assert [(task.name, task.classes) for task in found.tasks] == [("march", (0, 1, 2, 3))]
    assert found.input_shape == (3, 4, 4)


def test_the_digest_is_that_of_the_contents(hf: Any, tmp_path: Path) -> None:
    for seed, name in enumerate(["one", "same", "other"]):
        images(hf, seed=seed // 2).save_to_disk(tmp_path / name)
        numbers(hf, seed=seed // 2).save_to_disk(tmp_path / "numbers" / name)
    of_images = [load(tmp_path / name, n_tasks=2).files for name in ("one", "same", "other")]
    assert of_images[0] == of_images[1] != of_images[2]
    of_numbers = [
        list(load(tmp_path / "numbers" / name, x="a", y="kind", n_tasks=3).files.values())
        for name in ("one", "same", "other")
    ]
    assert of_numbers[0] == of_numbers[1] != of_numbers[2]


def test_its_place_is_noted_as_a_whole(hf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    space = Space().model_dump(mode="json")
    assert make_config(space, {"stream.name": "hf:here"}, []).stream.name == f"hf:{tmp_path / 'here'}"
    assert make_config(space, {"stream.name": "hf:some/name"}, []).stream.name == "hf:some/name"


def refused(path: Path, said: str, **given: Any) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        load(path, **given)
    assert "\n" not in str(caught.value)


def test_what_is_refused(hf: Any, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    images(hf).save_to_disk(saved)
    refused(saved, "unknown column `picture`. Known, closest first: ", x="picture")
    refused(saved, "unknown column `klass`. Known, closest first: label", y="klass")
    refused(saved, "unknown column `year`. Known, closest first: ", task="year")
    refused(saved, "each image names its task already, but got `tasks`. Leave it out.", task="month", tasks=[WORDS])
    refused(saved, "its 4 classes must be cut into tasks of equally many, but nothing says how.")
    refused(tmp_path / "none", f"there is no {tmp_path / 'none'}. Check the path; a name is fetched with `--download`.")
    (tmp_path / "table.txt").write_text("a,b")
    refused(tmp_path / "table.txt", "unknown suffix `.txt`. Known, closest first: ")
    (tmp_path / "bad.parquet").write_text("no parquet")
    refused(tmp_path / "bad.parquet", "it cannot be read (")
    numbers(hf).save_to_disk(tmp_path / "numbers")
    of_numbers: dict[str, Any] = {"y": "kind", "n_tasks": 3}
    refused(tmp_path / "numbers", "`size` and `mode` are for images, but a holds none.", x="a", size=3, **of_numbers)
    refused(tmp_path / "numbers", "several columns must hold a number each, but one", x=["pair", "a"], **of_numbers)
    refused(tmp_path / "numbers", "column `a`: a class is a whole number from 0 up or a word, but row 0", x="b", y="a")
    gaps = hf.Dataset.from_dict({"a": [1.0, None] * 10, "label": [0, 1] * 10})
    gaps.save_to_disk(tmp_path / "gaps")
    refused(tmp_path / "gaps", "x must be finite in float32, but column `a` of example 0", x="a", n_tasks=2)
    unlabelled = images(hf).cast_column("label", hf.ClassLabel(names=WORDS)).map(lambda row: {"label": -1})
    unlabelled.save_to_disk(tmp_path / "unlabelled")
    refused(
        tmp_path / "unlabelled", "column `label`: a class is a whole number from 0 up or a word, but row 0 (from 0)"
    )


def test_an_image_that_is_missing_or_damaged(hf: Any, tmp_path: Path) -> None:
    rows = [{"bytes": b"no image", "path": None}, None]
    for k, said in enumerate(["row 3: the image is damaged or not what its name says", "row 3: it cannot be read"]):
        data = images(hf, 8).cast_column("image", hf.Image(decode=False)).to_dict()
        data["image"][3] = rows[k]
        kinds = {"image": hf.Image(), "label": hf.Value("int64"), "month": hf.Value("string")}
        hf.Dataset.from_dict(data, features=hf.Features(kinds)).save_to_disk(tmp_path / str(k))
        refused(tmp_path / str(k), said, n_tasks=1)


def test_a_name_is_fetched_only_when_that_is_asked_for(hf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(hf, "load_dataset", lambda name: asked.append(name) or images(hf))
    with pytest.raises(InputError, match="there is no some/name"):
        load_stream(StreamConfig(name="hf:some/name", n_tasks=2))
    assert asked == []
    assert len(load_stream(StreamConfig(name="hf:some/name", n_tasks=2, download=True)).tasks) == 2
    assert asked == ["some/name"]


def test_without_the_package_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'", name="datasets")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    refused(tmp_path, "which is not installed. Install it: pip install 'cfsweep[datasets]'.")
