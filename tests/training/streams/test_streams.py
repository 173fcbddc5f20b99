"""The built-in streams: on the embedded digits, on real data where it is, and on small files in the true format."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, _vision_files, load_stream, registry
from cfsweep.training.streams._assemble import stratified_cut

needs_data = pytest.mark.skipif(
    not os.environ.get("CFSWEEP_DATA"), reason="CFSWEEP_DATA names no folder with MNIST and FashionMNIST"
)


def load(name: str = "split-digits", **settings: Any) -> Stream:
    return load_stream(StreamConfig(name=name, **settings))


def refused(line: str, name: str = "split-digits", **settings: Any) -> None:
    with pytest.raises(InputError, match=line) as caught:
        load(name, **settings)
    assert "\n" not in str(caught.value)


def assert_sound(stream: Stream, validation_frac: float = 0.1) -> None:
    """No example in two splits, the right classes in each, a stratified validation share, standardised input."""
    for task in stream.tasks:
        splits = (task.train, task.validation, task.test)
        together = np.concatenate(splits)
        assert len(np.unique(together)) == len(together)
        assert all(rows.dtype == np.int64 and (np.diff(rows) > 0).all() for rows in splits)
        y = stream.y.numpy()
        assert all(set(y[rows]) <= set(task.classes) for rows in splits)
        for label in task.classes:
            n_train, n_validation = ((y[rows] == label).sum() for rows in (task.train, task.validation))
            assert min(n_train, n_validation) >= 1
            assert abs(n_validation - validation_frac * (n_train + n_validation)) <= 0.5
    train = np.concatenate([task.train for task in stream.tasks])
    seen = (stream.x[train].double() - stream.shift) * stream.scale
    assert abs(float(seen.mean())) < 1e-6
    assert abs(float(seen.std(unbiased=False)) - 1) < 1e-6


def assert_equal(a: Stream, b: Stream) -> None:
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.y, b.y)
    assert (a.shift, a.scale, a.files) == (b.shift, b.scale, b.files)
    for one, other in zip(a.tasks, b.tasks, strict=True):
        assert (one.name, one.classes) == (other.name, other.classes)
        for split in ("train", "validation", "test"):
            assert np.array_equal(getattr(one, split), getattr(other, split))


# ---------------------------------------------------------------------------------------------- the embedded digits


def test_split_digits_is_five_tasks_of_real_images() -> None:
    stream = load()
    assert_sound(stream)
    assert stream.x.shape == (1797, 1, 8, 8)
    assert stream.x.dtype == torch.uint8
    assert stream.input_shape == (1, 8, 8)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [task.name for task in stream.tasks] == ["0, 1", "2, 3", "4, 5", "6, 7", "8, 9"]
    assert stream.n_classes == 10
    assert stream.files.keys() == {"scikit-learn/digits.csv.gz"}
    assert sum(len(task.test) for task in stream.tasks) == 359
    assert_equal(stream, load())


def test_the_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    stream, bunch = load(), load_digits()
    ours = sorted(map(bytes, torch.cat([stream.x.flatten(1), stream.y.to(torch.uint8)[:, None]], 1).numpy()))
    pixels = bunch.images.reshape(-1, 64).astype(np.uint8)
    assert ours == sorted(map(bytes, np.column_stack([pixels, bunch.target.astype(np.uint8)])))


def test_files_are_named_and_read_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST, mnist

    for idx in (MNIST, FashionMNIST):
        assert [Path(archive).stem for archive, _ in idx.resources] == list(_vision_files._IDX_FILES)
    for cifar in (CIFAR10, CIFAR100):
        names = (cifar.base_folder, [n for n, _ in cifar.train_list], *[n for n, _ in cifar.test_list])
        assert names == _vision_files._CIFAR_FILES[cifar.__name__]
    path, images = tmp_path / "images", np.random.default_rng(0).integers(0, 256, (5, 3, 2), np.uint8)
    path.write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    np.testing.assert_array_equal(_vision_files._idx(str(path), 3), mnist.read_image_file(str(path)).numpy())
    np.testing.assert_array_equal(_vision_files._idx(str(path), 3), images)


def test_neither_split_seed_nor_share_nor_order_moves_the_test_split() -> None:
    def test_images(stream: Stream) -> set[bytes]:
        return {stream.x[i].numpy().tobytes() for task in stream.tasks for i in task.test}

    settings: list[dict[str, Any]] = [{"split_seed": 5}, {"validation_frac": 0.3}, {"class_order": 4}, {"n_tasks": 2}]
    for other in settings:
        assert test_images(load(**other)) == test_images(load())
    assert not np.array_equal(load(split_seed=5).tasks[0].validation, load().tasks[0].validation)
    assert_sound(load(validation_frac=0.3), validation_frac=0.3)


def test_a_class_order_renumbers_the_classes_and_loses_none() -> None:
    plain, shuffled = load(), load(class_order=3)
    assert_sound(shuffled)
    assert [task.classes for task in shuffled.tasks] == [task.classes for task in plain.tasks]
    names = [int(own) for task in shuffled.tasks for own in task.name.split(", ")]
    assert sorted(names) == list(range(10))
    assert names != list(range(10))
    assert torch.equal(torch.tensor(names)[shuffled.y], plain.y)  # the name tells the data set's own number
    assert_equal(shuffled, load(class_order=3))
    assert [task.name for task in load(class_order=4).tasks] != [task.name for task in shuffled.tasks]


def test_the_number_of_tasks_must_divide_the_classes() -> None:
    assert [task.classes for task in load(n_tasks=2).tasks] == [tuple(range(5)), tuple(range(5, 10))]
    assert len(load(n_tasks=10).tasks) == 10
    refused(r"`n_tasks` must divide .* \(10\), but got n_tasks=3. Use one of 1, 2, 5, 10", n_tasks=3)


def test_too_few_examples_for_the_validation_share_are_refused() -> None:
    refused(
        r"validation_frac=0.001: too few examples of class 0: a share of 0.001 of its \d+ must leave",
        validation_frac=1e-3,
    )
    with pytest.raises(InputError, match=r"too few examples of class 7: a share of 0.5 of its 0"):
        stratified_cut(np.zeros(4, dtype=np.int64), (0.5,), 0, "here", classes=(0, 7))


def test_unknown_names_and_settings_are_refused() -> None:
    refused("--stream: unknown stream `split-minst`. Known, closest first: split-mnist", "split-minst")
    refused("unknown argument `n`", args={"n": 3})
    refused("there is no such folder", "./nowhere")
    refused("`split_seed >= 0` must hold, but got split_seed=-1", split_seed=-1)
    refused("`class_order >= 0` must hold", class_order=-2)
    assert all(entry.doc for entry in registry.values())


# -------------------------------------------------------------------------------------------- real MNIST and Fashion


@needs_data
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("split-mnist", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]),
        ("split-fashion-mnist", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]),
        ("mnist-halves", [tuple(range(5)), tuple(range(5, 10))]),
        ("mnist-fashion", [tuple(range(10)), tuple(range(10, 20))]),
    ],
)
def test_real_streams_hold_every_image_once(name: str, classes: list[tuple[int, ...]]) -> None:
    stream = load(name)
    assert_sound(stream)
    assert [task.classes for task in stream.tasks] == classes
    assert stream.input_shape == (1, 28, 28)
    every = np.concatenate([np.concatenate([t.train, t.validation, t.test]) for t in stream.tasks])
    assert np.array_equal(np.sort(every), np.arange(len(stream.x)))
    root = Path(os.environ["CFSWEEP_DATA"])
    for file, digest in stream.files.items():
        assert hashlib.sha256((root / file).read_bytes()).hexdigest() == digest
    assert len(stream.files) == (8 if name == "mnist-fashion" else 4)


@needs_data
def test_mnist_is_standardised_by_about_the_well_known_numbers() -> None:
    stream = load("split-mnist")
    assert stream.shift / 255 == pytest.approx(0.1307, abs=0.002)
    assert 1 / (255 * stream.scale) == pytest.approx(0.3081, abs=0.003)


@needs_data
def test_permuted_mnist_permutes_pixels_and_keeps_one_validation_split() -> None:
    stream = load("permuted-mnist", n_tasks=3, split_seed=1)
    assert_sound(stream)
    assert [task.classes for task in stream.tasks] == [tuple(range(10 * k, 10 * k + 10)) for k in range(3)]
    copies, labels = stream.x.reshape(3, -1, 784), stream.y.reshape(3, -1)
    assert torch.equal(copies[0], load("mnist-halves").x.flatten(1))
    assert not torch.equal(copies[1], copies[2])
    for k in (1, 2):
        assert torch.equal(copies[k, :50].sort().values, copies[0, :50].sort().values)
        assert torch.equal(labels[k], labels[0] + 10 * k)
        assert np.array_equal(stream.tasks[k].validation, stream.tasks[0].validation + k * copies.shape[1])
    again, other = load("permuted-mnist", n_tasks=2, split_seed=1), load("permuted-mnist", n_tasks=2, split_seed=2)
    assert torch.equal(again.x, stream.x[: len(again.x)])
    assert not torch.equal(other.x, again.x)


@needs_data
def test_settings_that_mean_nothing_are_refused() -> None:
    refused("`class_order` must be `fixed`, because each task holds all ten digits", "permuted-mnist", class_order=1)
    refused("`class_order` must be `fixed`, because each task is a whole data set", "mnist-fashion", class_order=1)
    refused("it has 2 tasks, but got n_tasks=5", "mnist-halves", n_tasks=5)
    refused("unknown argument `permutations`", "permuted-mnist", args={"permutations": 3})


@needs_data
def test_a_truncated_or_mismatched_file_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(Path(os.environ["CFSWEEP_DATA"]) / "MNIST", root / "MNIST")
    images = root / "MNIST/raw/train-images-idx3-ubyte"
    whole = images.read_bytes()
    for damaged in (whole[:-1000], whole[:20], b"", b"<html>not here</html>"):
        images.write_bytes(damaged)
        refused(
            "the file .*train-images-idx3-ubyte is truncated or not what its name says", "split-mnist", data=str(root)
        )
    images.write_bytes(struct.pack(">4I", 2051, 7, 28, 28) + whole[16 : 16 + 7 * 784])
    refused("train-labels-idx1-ubyte must hold one label in 0 .. 9 for each of the 7", "split-mnist", data=str(root))
    images.unlink()
    refused(
        "the file .*train-images-idx3-ubyte is missing. Name the folder with `--data`", "split-mnist", data=str(root)
    )


# ------------------------------------------------------------------------------------------------ where the data lies


def test_a_missing_folder_names_the_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CFSWEEP_DATA", raising=False)
    refused("no folder was named. Pass `--data DIR` or set CFSWEEP_DATA; `--download`", "split-mnist")
    monkeypatch.setenv("CFSWEEP_DATA", str(tmp_path / "nowhere"))
    refused("there is no folder .*nowhere. Name the folder with `--data` or CFSWEEP_DATA", "split-cifar10")
    refused("the file .*data_batch_1 is missing.*--download", "split-cifar10", data=str(tmp_path))


def test_nothing_is_downloaded_unless_asked_and_a_failing_download_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    asked: list[Path] = []

    def download(self: Any) -> None:
        asked.append(Path(self.root))
        raise RuntimeError("Error downloading\nmirror after mirror")

    monkeypatch.setattr(MNIST, "download", download)
    refused("is missing", "split-mnist", data=str(tmp_path))
    assert asked == []
    refused(
        r"downloading MNIST into .* failed \(RuntimeError: Error downloading\)",
        "split-mnist",
        data=str(tmp_path / "new"),
        download=True,
    )
    assert asked == [tmp_path / "new"]


# -------------------------------------------------------------------------------------- CIFAR, in the published format


def python2_pickle(entries: dict[str, Any]) -> bytes:
    """`entries` (lists of small ints, uint8 matrices) byte for byte as Python 2 and an old NumPy pickled them.

    The published files hold byte strings where Python 3 would write text or bytes: only this shows that they load.
    """

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    out = b"\x80\x02}("
    for key, value in entries.items():
        out += text(key.encode())
        if isinstance(value, list):
            out += b"](" + b"".join(integer(each) for each in value) + b"e"
            continue
        dtype = (
            b"cnumpy\ndtype\n("
            + text(b"u1")
            + b"K\x00K\x01tR(K\x03"
            + text(b"|")
            + b"NNN"
            + 2 * integer(-1)
            + b"K\x00tb"
        )
        out += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
        out += b"(K\x01" + integer(value.shape[0]) + integer(value.shape[1]) + b"\x86" + dtype + b"\x89"
        out += text(value.tobytes()) + b"tb"
    return out + b"u."


def write_cifar(root: Path, name: str, per_class: int = 5) -> dict[str, np.ndarray]:
    """A small CIFAR in the published layout; returns the images (n, 3, 32, 32) of each file."""
    n_classes, folder = (10, "cifar-10-batches-py") if name == "CIFAR10" else (100, "cifar-100-python")
    files = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if name == "CIFAR10" else ["train", "test"]
    (root / folder).mkdir(parents=True)
    rng, written = np.random.default_rng(0), {}
    for file in files:
        labels = np.repeat(np.arange(n_classes), per_class).tolist()
        written[file] = rng.integers(0, 256, size=(len(labels), 3072), dtype=np.uint8)
        keys = {"labels": labels} if name == "CIFAR10" else {"coarse_labels": [0] * len(labels), "fine_labels": labels}
        (root / folder / file).write_bytes(python2_pickle({**keys, "data": written[file]}))
    return {file: data.reshape(-1, 3, 32, 32) for file, data in written.items()}


def test_split_cifar10_reads_the_published_format(tmp_path: Path) -> None:
    images = write_cifar(tmp_path, "CIFAR10")
    stream = load("split-cifar10", data=str(tmp_path))
    assert_sound(stream)
    assert stream.input_shape == (3, 32, 32)
    assert np.array_equal(stream.x.numpy(), np.concatenate(list(images.values())))
    assert [task.classes for task in stream.tasks] == [(2 * k, 2 * k + 1) for k in range(5)]
    assert set(stream.files) == {f"cifar-10-batches-py/{file}" for file in images}


def test_split_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    write_cifar(tmp_path, "CIFAR100")
    stream = load("split-cifar100", data=str(tmp_path))
    assert_sound(stream)
    assert [task.classes for task in stream.tasks] == [tuple(range(10 * k, 10 * k + 10)) for k in range(10)]
    assert stream.n_classes == 100


def test_damaged_cifar_files_are_named_and_run_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "was-here",)

    write_cifar(tmp_path, "CIFAR10")
    batch = tmp_path / "cifar-10-batches-py/data_batch_3"
    whole = batch.read_bytes()
    labels = list(range(10))
    for damaged in (
        whole[:-10],
        b"",
        pickle.dumps([1, 2]),
        pickle.dumps({"labels": labels, "data": np.zeros((10, 3072))}),
        pickle.dumps({"labels": labels, "data": np.zeros((10, 3000), np.uint8)}, protocol=2),
    ):
        batch.write_bytes(damaged)
        refused("data_batch_3 is truncated or not what its name says", "split-cifar10", data=str(tmp_path))
    batch.write_bytes(pickle.dumps(Evil()))
    refused("a data file may not name ", "split-cifar10", data=str(tmp_path))
    assert not (tmp_path / "was-here").exists()
    batch.write_bytes(pickle.dumps({"labels": [10] * 10, "data": np.zeros((10, 3072), np.uint8)}))
    refused(r"data_batch_3 must hold one label in 0 .. 9 .* values \[10\]", "split-cifar10", data=str(tmp_path))
