"""Your own streams: a Python function, and a folder of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.engine.store import store_on
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._own_data import checked_examples, digest, own_stream
from cfsweep.training.streams._own_tasks import OwnTask
from cfsweep.training.streams.own_function import _part

Pair = tuple[NDArray[Any], NDArray[np.int64]]


def load(name: str, **settings: Any) -> Stream:
    return load_stream(StreamConfig(name=name, **settings))


def refused(line: str, name: str, **settings: Any) -> None:
    with pytest.raises(InputError, match=line) as caught:
        load(name, **settings)
    assert "\n" not in str(caught.value)


def pair(first_class: int = 0, n: int = 20, shape: tuple[int, ...] = (3,), dtype: str = "float32") -> Pair:
    """`n` examples of two classes, each example different."""
    rng = np.random.default_rng(first_class)
    return rng.integers(0, 200, size=(n, *shape)).astype(dtype), first_class + np.arange(n) % 2


# ------------------------------------------------------------------------------------------------------- a function

OWN = """
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

def pair(first, n=20):
    rng = np.random.default_rng(first)
    return rng.normal(size=(n, 3)), first + np.arange(n) % 2

class Listed(Dataset):
    def __init__(self, first, image=lambda x: x):
        self.x, self.y = pair(first)
        self.image = image
    def __len__(self):
        return len(self.y)
    def __getitem__(self, i):
        return self.image(self.x[i]), int(self.y[i])

class Endless(IterableDataset):
    def __iter__(self):
        yield from ()

class Wrong(Listed):
    def __getitem__(self, i):
        raise OSError("no disk")

def tuples(n_tasks=2):
    return [(pair(2 * k), pair(2 * k, 8)) for k in range(n_tasks)]

def mappings():
    return [{"name": "cats", "train": pair(0)}, {"train": pair(2)}]

def datasets():
    x, y = pair(0)
    return [
        (TensorDataset(torch.tensor(x), torch.tensor(y)), Listed(0)),
        (Listed(2, torch.tensor), Listed(2, lambda x: x.astype("float16"))),
    ]

def shared():
    return [(pair(0), pair(0, 8)), (pair(1), pair(1, 8))]

def lazy():
    import cfsweep_own_helper
    return cfsweep_own_helper.tasks()

def pil():
    from PIL import Image
    return [(Listed(0, lambda x: Image.new("L", (2, 2))), None)]

def any_value(which):
    x, y = pair(0)
    return {
        "none": None, "empty": [], "number": [3], "no_train": [{"test": pair(0)}],
        "key": [{"train": pair(0), "tset": 1}],
        "part": [(3, 4)], "endless": [(Endless(),)], "wrong": [(Wrong(0),)],
        "text": [((np.array(["a"] * 20), y),)], "ragged": [(([[1], [1, 2]], [0, 1]),)],
        "flat": [((x[:, 0], y),)], "lengths": [((x, y[:-1]),)], "two_d": [((x, np.stack([y, y], 1)),)],
        "void": [((x[:0], y[:0]),)], "void_list": [(([], []),)], "void_test": [((x, y), (x[:0], y[:0]))],
        "one_tests": [(pair(0), pair(0, 8)), (pair(2),)], "two_test": [(pair(0),), (pair(2), pair(2, 8)), (pair(4),)],
        "one_of_four": [(pair(2 * k), *([pair(6, 8)] if k == 3 else [])) for k in range(4)],
        "float_y": [((x, y.astype(float)),)], "negative": [((x, y - 1),)],
        "nan": [((np.where(np.arange(60).reshape(20, 3) == 7, np.nan, x), y),)], "big": [((x * 1e300, y),)],
        "shapes": [(pair(0), pair(0, 8)), ((np.zeros((20, 4)), y),)],
        "types": [(pair(0), (x.astype("uint8"), y))],
        "stray": [(pair(0), pair(5, 8))], "few": [(pair(0, 3), pair(0, 8))], "no_test_share": [(pair(0, 3),)],
    }[which]

def raises():
    raise KeyError("where is it")
"""
HELPER = "from cfsweep_own_stream import tuples as tasks\n"


@pytest.fixture
def own_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cfsweep_own_stream.py").write_text(OWN)
    (tmp_path / "cfsweep_own_helper.py").write_text(HELPER)
    (tmp_path / "cfsweep_broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "cfsweep_unparsable.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(function: str) -> str:
    return f"cfsweep_own_stream:{function}"


@pytest.mark.usefixtures("own_streams")
@pytest.mark.parametrize("function", ["tuples", "mappings", "datasets", "lazy"])
def test_a_function_may_return_pairs_or_datasets(function: str) -> None:
    stream = load(own(function))
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert stream.x.dtype == torch.float32
    assert stream.input_shape == (3,)
    for task in stream.tasks:
        rows = np.concatenate([task.train, task.validation, task.test])
        assert len(set(rows)) == len(rows)
        assert set(stream.y[task.test].tolist()) == set(task.classes)
    first = (stream.x[stream.tasks[0].train].double() - stream.shift) * stream.scale
    assert abs(first.mean(0)).max() < 1e-6
    again = load(own(function))
    assert torch.equal(again.x, stream.x)
    assert again.files == stream.files


def test_files_prove_code_and_arrays(own_streams: Path) -> None:
    files = load(own("tuples")).files
    assert files["cfsweep_own_stream.py"] == hashlib.sha256(OWN.encode()).hexdigest()
    arrays = f"{own('tuples')} (returned arrays)"
    assert files[arrays] != load(own("tuples"), args={"n_tasks": 3}).files[arrays]
    assert (own_streams / "cfsweep_own_stream.py").exists()


@pytest.mark.usefixtures("own_streams")
def test_args_names_and_shared_classes() -> None:
    assert len(load(own("tuples"), args={"n_tasks": 3}, n_tasks=3).tasks) == 3
    assert [task.name for task in load(own("mappings")).tasks] == ["cats", "task 1"]
    assert len(load(own("mappings")).tasks[1].test) == 4  # a fifth of 20
    shared = load(own("shared"))
    assert [task.classes for task in shared.tasks] == [(0, 1), (1, 2)]
    assert shared.n_classes == 3


@pytest.mark.usefixtures("own_streams")
@pytest.mark.parametrize(
    ("which", "line"),
    [
        ("none", "must return a list with one item per task, but returned NoneType"),
        ("empty", "but returned an empty one"),
        ("number", "task 0: a task is a mapping with `train` and `test` or a tuple .* but got int"),
        ("no_train", "task 0: a task needs `train`"),
        ("key", "task 0: unknown key `tset`. Known, closest first: test"),
        ("part", r"task 0, train: it must be a pair \(x, y\) or a torch Dataset, but got int"),
        ("endless", "a dataset must have a length, but Endless has none"),
        ("wrong", r"reading the dataset failed \(OSError: no disk\)"),
        ("text", "its x are texts, which need an encoder"),
        ("ragged", r"train, x: it must be a tensor or an array \(ValueError"),
        ("flat", r"x must have the shape \(n, features ...\), but has \(20,\)"),
        ("lengths", r"same number .* but their shapes are \(20, 3\) and \(19,\)"),
        ("two_d", r"their shapes are \(20, 3\) and \(20, 2\)"),
        ("void", "task 0, train: a task needs examples, but there is none. Add some, or leave it out."),
        ("void_list", "task 0, train: a task needs examples, but there is none"),
        ("void_test", "task 0, test: a task needs examples, but there is none"),
        ("one_tests", "all tasks must have test data or none, but `task 1` lack what `task 0` have. Give them some"),
        ("two_test", "but `task 0`, `task 2` lack what `task 1` have"),
        ("one_of_four", "but `task 0`, `task 1`, `task 2` lack what `task 3` have"),
        ("float_y", "labels must be whole numbers >= 0, of an integer type, but got float64"),
        ("negative", "labels must be whole numbers >= 0, of an integer type, but got -1"),
        ("nan", r"x must be finite in float32, but x\[2, 1\] is nan"),
        ("big", r"x must be finite in float32, but x\[0, 0\] is -?inf"),
        ("shapes", r"task `task 1`: all examples .* have \(4,\) float32 where the first have \(3,\) float32"),
        ("types", r"task `task 0`: all examples .* have \(3,\) uint8 where the first have \(3,\) float32"),
        (
            "stray",
            r"test labels must occur in the task's training data, but 5, 6 do not. Its training classes are 0, 1",
        ),
        ("few", "validation_frac=0.1: too few examples of class 0: a share of 0.1 of its 2 "),
        ("no_test_share", "test share: too few examples of class 0: a share of 0.2 of its 2"),
    ],
)
def test_what_a_function_may_not_return(which: str, line: str) -> None:
    refused(line, own("any_value"), args={"which": which})


@pytest.mark.usefixtures("own_streams")
@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        (own("tupels"), {}, "unknown function in module `cfsweep_own_stream` `tupels`. Known, closest first: tuples"),
        (own("tuples"), {"args": {"tasks": 3}}, "its arguments do not fit .*'tasks'"),
        (own("tuples"), {"n_tasks": 7}, "it has 2 tasks, but got n_tasks=7"),
        (own("tuples"), {"class_order": 1}, "`class_order` must be `fixed`"),
        (own("raises"), {}, r"the function failed \(KeyError: 'where is it'\)"),
        (own("pil"), {}, "must be a tensor or an array, but got Image"),
        ("cfsweep_nowhere:tasks", {}, "there is no module `cfsweep_nowhere` in the current folder"),
        ("cfsweep_broken:tasks", {}, "importing `cfsweep_broken` failed .ModuleNotFoundError"),
        ("cfsweep_unparsable:tasks", {}, "importing `cfsweep_unparsable` failed .SyntaxError"),
    ],
)
def test_functions_that_cannot_be_used(name: str, settings: dict[str, Any], line: str) -> None:
    refused(line, name, **settings)


@pytest.mark.usefixtures("own_streams")
def test_the_import_path_is_left_as_it_was() -> None:
    import sys

    before = list(sys.path)
    load(own("tuples"))
    refused("failed", own("raises"))
    assert sys.path == before


def test_the_example_is_a_stream() -> None:
    stream = load("examples.own_stream:tasks", args={"n_tasks": 2, "per_class": 30})
    assert [task.name for task in stream.tasks] == ["clouds 0", "clouds 1"]
    assert stream.input_shape == (16,)


# --------------------------------------------------------------------------------------------------------- a folder


def write_npz(path: Path, train: Pair, test: Pair | None = None) -> None:
    arrays = dict(zip(("x_train", "y_train"), train, strict=True))
    np.savez(path, **arrays, **(dict(zip(("x_test", "y_test"), test, strict=True)) if test else {}))


def write_parquet(path: Path, train: Pair, test: Pair, as_features: bool = False) -> None:
    x, y = np.concatenate([train[0], test[0]]), np.concatenate([train[1], test[1]])
    if as_features:
        columns: dict[str, Any] = {f"feature_{i}": x[:, i] for i in range(x.shape[1])}
    else:
        kind: pa.DataType = pa.from_numpy_dtype(x.dtype)
        for _ in x.shape[1:]:
            kind = pa.list_(kind)
        columns = {"x": pa.array(x.tolist(), type=kind)}
    split = ["train"] * len(train[1]) + ["test"] * len(test[1])
    pq.write_table(pa.table({**columns, "y": y, "split": split}), path, row_group_size=7)


def npz(folder: Path, number: int, **settings: Any) -> None:
    write_npz(folder / f"task-{number}.npz", pair(2 * number, **settings), pair(2 * number, n=8, **settings))


def parquet(folder: Path, number: int, **settings: Any) -> None:
    write_parquet(folder / f"task-{number}.parquet", pair(2 * number, **settings), pair(2 * number, n=8, **settings))


@pytest.mark.parametrize("write", [npz, parquet])
@pytest.mark.parametrize(("shape", "dtype"), [((3,), "float32"), ((1, 2, 2), "uint8"), ((2, 3), "int64")])
def test_a_folder_is_a_stream_in_the_order_of_its_names(
    tmp_path: Path, write: Callable[..., None], shape: tuple[int, ...], dtype: str
) -> None:
    for number in (2, 0, 1):
        write(tmp_path, number, shape=shape, dtype=dtype)
    (tmp_path / "README.md").write_text("not data")
    stream = load(str(tmp_path))
    assert [task.name for task in stream.tasks] == ["task-0", "task-1", "task-2"]
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5)]
    assert [len(task.test) for task in stream.tasks] == [8, 8, 8]
    assert stream.x.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    assert stream.input_shape == shape
    x, y = pair(2, shape=shape, dtype=dtype)
    rows = np.sort(np.concatenate([stream.tasks[1].train, stream.tasks[1].validation]))
    assert np.array_equal(stream.x[rows].numpy(), x.astype(stream.x.numpy().dtype))
    assert np.array_equal(stream.y[rows].numpy(), y)
    assert stream.files == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tmp_path.glob("task-*")}


def test_parquet_features_and_lists_say_the_same(tmp_path: Path) -> None:
    for folder, as_features in (("lists", False), ("features", True)):
        (tmp_path / folder).mkdir()
        write_parquet(tmp_path / folder / "a.parquet", pair(), pair(n=8), as_features)
    lists, features = load(str(tmp_path / "lists")), load(str(tmp_path / "features"))
    assert torch.equal(lists.x, features.x)
    assert np.array_equal(lists.tasks[0].validation, features.tasks[0].validation)


def test_without_test_data_a_fixed_fifth_of_each_class_becomes_it(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", pair(n=20))
    table = pa.table({"x": pair(2, shape=())[0], "y": pair(2)[1]})
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.npz").rename(tmp_path / "one" / "a.npz")
    pq.write_table(table, tmp_path / "other" / "b.parquet")
    for folder in (tmp_path / "one", tmp_path / "other"):
        stream, other = load(str(folder)), load(str(folder), split_seed=4)
        assert sorted(stream.y[stream.tasks[0].test].tolist()) == [0, 0, 1, 1]
        assert torch.equal(stream.x[stream.tasks[0].test], other.x[other.tasks[0].test])


def test_damaged_or_odd_npz_files_are_named(tmp_path: Path) -> None:
    folder, path = str(tmp_path), tmp_path / "task.npz"
    refused("holds no .npz or .parquet file", folder)
    write_npz(path, pair())
    path.write_bytes(path.read_bytes()[:-100])
    refused("task.npz: the file is truncated or not what its name says", folder)
    path.write_bytes(b"")
    refused("task.npz: the file is truncated", folder)
    x, y = pair()
    np.savez(path, x_train=x)
    refused("task.npz: the array `y_train` is missing", folder)
    np.savez(path, x_train=x, y_train=y, x_test=x)
    refused("the array `y_test` is missing", folder)
    np.savez(path, x_train=x, y_train=y, x_tset=x)
    refused("unknown array `x_tset`. Known, closest first: x_test", folder)
    np.savez(path, x_train=np.array([{}], dtype=object), y_train=y)
    refused("task.npz, x_train: it must hold real numbers, but its type is object. Convert it.", folder)
    write_npz(path, (np.where(x > 100, np.inf, x), y))
    refused(r"task.npz, train: x must be finite in float32, but x\[\d+, \d\] is inf", folder)
    write_npz(path, pair())
    refused("unknown argument `a`", folder, args={"a": 1})


def test_damaged_or_odd_parquet_files_are_named(tmp_path: Path) -> None:
    folder, path = str(tmp_path), tmp_path / "task.parquet"
    path.write_bytes(b"PAR1 but no more")
    refused("task.parquet: the file is truncated or not what its name says", folder)
    y = [0, 1] * 10
    odd: list[tuple[dict[str, Any], str]] = [
        ({"x": y}, "columns `y` and `x` .or features. are needed, but it has `x`. Add them."),
        ({"y": y, "split": ["train"] * 20}, "columns `y` and `x`.*but it has `y`, `split`"),
        ({"x": y, "z": y, "y": y}, "beside `x`, only `y` and `split` may stand"),
        (
            {"x": [[1.0, 2.0]] * 19 + [[1.0]], "y": y},
            r"column `x`: all lists must have one length, but they have 1, 2. Pad",
        ),
        ({"a": [1.0] * 19 + [None], "y": y}, "column `a`: no value may be missing, but 1 are"),
        ({"x": [[1.0, None]] * 20, "y": y}, "column `x`: no value may be missing, but 20 are"),
        (
            {"a": ["text"] * 20, "y": y},
            "task.parquet, column `a`: it must hold numbers, but its type is string. Convert",
        ),
        ({"a": y, "y": y, "split": ["train"] * 19 + ["valid"]}, "column `split`: unknown value `valid`"),
        ({"a": y, "y": [0.5] * 20}, "labels must be whole numbers"),
        (
            {"a": y, "y": y, "split": ["test"] * 20},
            "column `split`: a task needs rows of `train` and of `test`, but all 20 are `test`. Add the others, or",
        ),
        (
            {"a": y, "y": y, "split": ["train"] * 20},
            "but all 20 are `train`. Add the others, or leave the column out of",
        ),
        (
            {"a": y[:0], "y": y[:0], "split": [""] * 0},
            "task.parquet: a task needs examples, but there is none. Add some",
        ),
        ({"a": y[:0], "y": y[:0]}, "task.parquet: a task needs examples, but there is none. Add some"),
    ]
    for columns, line in odd:
        pq.write_table(pa.table(columns), path)
        refused(line, folder)


# --------------------------------------------------------------------------------------------------------- labels

LABELS: dict[str, tuple[Any, str]] = {
    "floats": (np.array([0.2, 0.8] * 10), "of an integer type, but got float64"),
    "whole floats": (np.array([0.0, 1.0] * 10, np.float32), "of an integer type, but got float32"),
    "booleans": (np.array([True, False] * 10), "of an integer type, but got bool"),
    "words and none": (
        np.array(["a", None] * 10, object),
        "train, y: it must hold real numbers, but its type is object. Convert it.",
    ),
    "complex": (np.array([0j, 1j] * 10), "train, y: it must hold real numbers, but its type is complex128"),
    "negative": (np.array([0, -1] * 10), "of an integer type, but got -1"),
    "objects": (np.array([0, 1] * 10, object), "train, y: it must hold real numbers, but its type is object"),
    "one hot": (
        np.eye(2, dtype=int)[np.arange(20) % 2],
        r"y in one dimension, but their shapes are \(20, 3\) and \(20, 2",
    ),
    "bfloat16": (
        torch.tensor([0, 1] * 10).bfloat16(),
        "train, y: it must be a tensor or an array .*BFloat16.*Convert it.",
    ),
    "half": (torch.tensor([0, 1] * 10).half(), "of an integer type, but got float16"),
    "bool tensor": (torch.tensor([True, False] * 10), "of an integer type, but got bool"),
}


class Items(Dataset[Any]):
    """x and y, one item at a time."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Any:
        return self.x[number], self.y[number]


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_are_none_hear_the_same_line_from_every_door(kind: str, tmp_path: Path) -> None:
    x, (y, said) = np.zeros((20, 3), np.float32), LABELS[kind]
    parts: list[Any] = [(x, y), Items(x, y), Items(x, list(y))]
    if isinstance(y, torch.Tensor):
        parts.append(TensorDataset(torch.from_numpy(x), y))
    else:
        np.savez(tmp_path / "task.npz", x_train=x, y_train=y)
        refused(said.replace("train, y", "task.npz, (train, y|y_train)"), str(tmp_path))
    if kind == "objects":  # whose items are whole numbers like any others
        parts = parts[:1]
    for part in parts:
        with pytest.raises(InputError, match=said) as caught:
            _part(part, "here, train")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bfloat16", "objects", "texts"])
def test_so_do_examples(kind: str) -> None:
    y = np.arange(20) % 2
    x: Any = {
        "bfloat16": torch.zeros(20, 3).bfloat16(),
        "objects": np.full((20, 3), None, object),
        "texts": np.full((20, 3), "a"),
    }[kind]
    lines = set()
    for part in ((x, y), Items(x, y), Items(list(x), list(y))):
        with pytest.raises(InputError) as caught:
            _part(part, "here, train")
        lines.add(str(caught.value))
    assert len(lines) == 1
    assert next(iter(lines)).startswith("here, train, x: it must ")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_labels_of_all_integer_types_are_the_same(dtype: str, shape: tuple[int, ...]) -> None:
    x, y = np.zeros((20, 3), np.float32), (np.arange(20) % 2).astype(dtype).reshape(shape)
    for part in ((x, y), Items(x, y), Items(x, [int(label) for label in y.ravel()])):
        found = _part(part, "here")
        assert found.ids.tolist() == [0, 1] * 10


def test_classes_whose_labels_lie_far_apart_are_numbered() -> None:
    labels = [(1440764, 1443537), (2**63 + 5, 7), (7, 1440764)]
    given = []
    for number, of in enumerate(labels):
        y = np.resize(np.array(of, np.uint64), 40)
        given.append(OwnTask(str(number), checked_examples(np.zeros((40, 2)), y, "here"), None))
    given[0] = replace(given[0], train=checked_examples(np.zeros((40, 2)), np.resize(labels[0], 40), "here"))
    stream = own_stream(StreamConfig(name="own"), given, {})
    assert stream.class_ids == (7, 1440764, 1443537, 2**63 + 5)
    assert [task.classes for task in stream.tasks] == [(1, 2), (0, 3), (0, 1)]
    assert stream.n_classes == 4
    for task, of in zip(stream.tasks, labels, strict=True):
        assert {stream.class_ids[label] for label in stream.y[task.train].tolist()} == set(of)
    assert load("split-digits").class_ids == ()


def test_the_digest_of_arrays_is_that_of_earlier_versions() -> None:
    """Studies that went on with a function of one's own are held by it."""
    x, y = np.arange(120, dtype=np.float32).reshape(40, 3), np.arange(40) % 2
    given = [OwnTask("a", checked_examples(x, y, "here"), checked_examples(x[:8], y[:8], "here"))]
    expected = hashlib.sha256()
    for tensor in (torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(x[:8]), torch.from_numpy(y[:8])):
        expected.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        expected.update(tensor.numpy().tobytes())
    assert digest(given) == expected.hexdigest()


# --------------------------------------------------------------------------------------------------------- scale


def scaled(shape: tuple[int, ...], by: str | None, dtype: str = "float32") -> Stream:
    """Two tasks; the second one lies elsewhere, and varies more."""
    rng = np.random.default_rng(1)
    given = []
    for task in range(2):
        x = (
            rng.normal(size=(60, *shape)) * (1 + 9 * task)
            + 100 * (task + 1)
            + np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
        )
        given.append(OwnTask(str(task), checked_examples(x.astype(dtype), np.arange(60) % 2, "here"), None))
    return own_stream(StreamConfig.model_validate({"name": "own", "standardise": by}), given, {})


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(
    ("shape", "by", "found"),
    [
        ((5,), None, "feature"),
        ((5,), "scalar", "scalar"),
        ((3, 4, 4), None, "scalar"),
        ((3, 4, 4), "channel", "channel"),
        ((3, 4, 4), "feature", "feature"),
        ((2, 5), None, "scalar"),
        ((5,), "none", "none"),
    ],
)
def test_examples_are_standardised_by_what_may_be_seen(
    shape: tuple[int, ...], by: str | None, found: str, dtype: str
) -> None:
    stream = scaled(shape, by, dtype)
    assert stream.standardised == found
    store = store_on(torch.device("cpu"), stream)
    tasks = [store[torch.from_numpy(task.train)].double().numpy() for task in stream.tasks]
    over = {"feature": (0,), "channel": (0, 2, 3), "scalar": tuple(range(len(shape) + 1)), "none": None}[found]
    if over is None:
        assert np.array_equal(tasks[0], stream.x[stream.tasks[0].train].double().numpy())
        return
    seen = np.concatenate(tasks) if found == "scalar" else tasks[0]
    assert np.allclose(seen.mean(over), 0, atol=1e-4)
    assert np.allclose(seen.std(over), 1, atol=1e-4)
    assert found == "scalar" or tasks[1].mean() > 10, "the second task has had no say"


def test_a_feature_that_is_constant_at_first_is_moved_alone() -> None:
    x = np.random.default_rng(0).normal(size=(2, 40, 3))
    x[0, :, 1] = 7.0
    given = [OwnTask(str(k), checked_examples(x[k], np.arange(40) % 2, "here"), None) for k in range(2)]
    stream = own_stream(StreamConfig(name="own"), given, {})
    assert isinstance(stream.scale, torch.Tensor)
    assert isinstance(stream.shift, torch.Tensor)
    assert (float(stream.shift[1]), float(stream.scale[1])) == (7.0, 1.0)


def test_flat_data_has_no_channels() -> None:
    with pytest.raises(InputError, match="`standardise=channel` needs examples of several dimensions, but these have"):
        scaled((5,), "channel")


def seen(stream: Stream) -> torch.Tensor:
    return store_on(torch.device("cpu"), stream)[torch.arange(len(stream.x))]


def test_bytes_are_scaled_as_published_weights_take_them() -> None:
    """By torchvision's own transforms; whatever the data, the numbers are the same."""
    stream = scaled((3, 4, 4), "imagenet", "uint8")
    unit = v2.functional.to_dtype(stream.x, torch.float32, scale=True)
    assert torch.allclose(seen(scaled((3, 4, 4), "unit", "uint8")), unit, atol=1e-6)
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    expected = v2.functional.normalize(unit, preset.mean, preset.std)
    assert torch.allclose(seen(stream), expected, atol=1e-5)
    assert torch.equal(torch.as_tensor(stream.scale), torch.as_tensor(scaled((3, 2, 2), "imagenet", "uint8").scale))


@pytest.mark.parametrize(
    ("shape", "by", "dtype", "line"),
    [
        ((3, 4, 4), "unit", "float32", "needs images of bytes .uint8, .* are float32 of the shape .3, 4, 4.* `none`"),
        ((5,), "unit", "uint8", "needs images of bytes .* are uint8 of the shape .5,.*"),
        ((1, 4, 4), "imagenet", "uint8", "needs images of 3 channels .* these have 1. Set `stream.args.mode=rgb`"),
    ],
)
def test_what_is_no_image_of_bytes_has_no_scale_of_its_own(
    shape: tuple[int, ...], by: str, dtype: str, line: str
) -> None:
    with pytest.raises(InputError, match=f"`standardise={by}` {line}"):
        scaled(shape, by, dtype)


def test_how_it_is_standardised_is_part_of_the_digest() -> None:
    digests = {scaled((3, 4, 4), by).digest for by in ("scalar", "feature", "channel", "none")}
    assert len(digests) == 4
    assert scaled((5,), None).digest == scaled((5,), "feature").digest
