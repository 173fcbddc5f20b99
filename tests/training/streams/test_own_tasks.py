"""A folder of tasks that is large: read task by task, its examples mapped, and to the last bit that of a small one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, load_stream, own_folder
from tests import own_encoders
from tests.training.streams.tables import large, require_same


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tasks"


def load(folder: Path, **settings: Any) -> Stream:
    return load_stream(StreamConfig.model_validate({"name": str(folder), "scenario": "domain-il", **settings}))


def as_npz(folder: Path, x: Callable[[np.random.Generator, int], NDArray[Any]], test: bool = True) -> Path:
    """Three tasks of unequal size and unequal sets of classes."""
    folder.mkdir()
    for k in range(3):
        rng, n = np.random.default_rng(k), 60 + 20 * k
        arrays = {"x_train": x(rng, n), "y_train": np.arange(n) % (2 + k)}
        if test:
            arrays |= {"x_test": x(rng, 12), "y_test": np.arange(12) % (2 + k)}
        np.savez(folder / f"task-{k}.npz", **arrays)
    return folder


def as_parquet(folder: Path, x: Callable[[np.random.Generator, int], NDArray[Any]], test: bool = True) -> Path:
    """The same; the columns of the second task lie in another order."""
    as_npz(folder.with_name("arrays"), x, test)
    folder.mkdir()
    for k, path in enumerate(sorted(folder.with_name("arrays").iterdir())):
        content = np.load(path)
        parts = []
        for part in ("train", "test") if test else ("train",):
            flat = content[f"x_{part}"].reshape(len(content[f"y_{part}"]), -1)
            frame = pd.DataFrame({f"f{j}": flat[:, j] for j in range(flat.shape[1])})
            parts.append(frame.assign(y=content[f"y_{part}"], **({"split": part} if test else {})))
        frame = pd.concat(parts, ignore_index=True)
        frame = frame[frame.columns[::-1]] if k == 1 else frame
        frame.to_parquet(folder / f"task-{k}.parquet", index=False)
    return folder


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[Any]]] = {
    "float64": lambda rng, n: rng.normal(3, 2, (n, 4)),
    "far from zero": lambda rng, n: 1e9 + rng.normal(0, [10, 1e8, 5, 1], (n, 4)),
    "uint8 images": lambda rng, n: rng.integers(0, 256, (n, 3, 4, 4), np.uint8),
}


@pytest.mark.parametrize("settings", [{"splits": 3}, {"standardise": "scalar"}, {"steering_frac": 0.1}])
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [as_npz, as_parquet])
def test_it_is_to_the_last_bit_the_stream_of_a_small_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., Path],
    kind: str,
    test: bool,
    settings: dict[str, Any],
) -> None:
    folder = write(tmp_path / "data", KINDS[kind], test)
    small = load(folder, **settings)
    assert small.mapped == ""
    large(monkeypatch)
    mapped = load(folder, **settings)
    require_same(small, mapped)
    assert Path(mapped.mapped).parent == tmp_path / "cache" / "tasks"
    assert mapped.x.numpy().tobytes() == np.load(mapped.mapped).tobytes()


@pytest.mark.parametrize("most", [0, 3_000])
def test_one_task_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Also where the first ones were small enough to be kept."""
    monkeypatch.setattr("cfsweep.training.streams._cache.IN_MEMORY_BYTES", most)
    folder = as_npz(tmp_path / "data", KINDS["float64"])
    tasks = own_folder._tasks(sorted(folder.iterdir()), "here", "classification")
    assert [task.train.x.device.type for task in tasks] == ["meta"] * 3
    assert [tuple(task.train.x.shape) for task in tasks] == [(60, 4), (80, 4), (100, 4)]
    one, other = (list(task.arrays()) for task in (tasks[1], tasks[1]))
    assert one[0] is not other[0]
    assert one[0].tobytes() == np.load(folder / "task-1.npz")["x_train"].astype(np.float32).tobytes()


def test_examples_are_written_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large(monkeypatch)
    folder = as_npz(tmp_path / "data", KINDS["float64"], test=False)
    first = load(folder)
    assert "are written into the cache once, and mapped" in capsys.readouterr().err
    assert load(folder).mapped == first.mapped
    assert capsys.readouterr().err == ""
    assert load(folder, standardise="scalar").mapped == first.mapped, "what the network sees is no part of it"
    assert load(folder, validation="latest").mapped != first.mapped, "but the order of examples is"
    assert len(list(cache.iterdir())) == 2


def test_a_column_that_float32_cannot_hold_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_parquet(tmp_path / "data", KINDS["far from zero"])
    lines = []
    for make in (lambda: None, lambda: large(monkeypatch)):
        make()
        with pytest.raises(
            InputError, match="is too coarse for column `f0`, whose values lie between 9999999"
        ) as caught:
            load(folder, standardise="none")
        lines.append(str(caught.value))
    assert lines[0] == lines[1]


def test_an_encoder_has_what_it_encodes_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_npz(tmp_path / "data", KINDS["uint8 images"])
    small = load(folder, encoder="tests.own_encoders:doubled")
    own_encoders.CALLS.clear()
    large(monkeypatch)
    encoded = load(folder, encoder="tests.own_encoders:doubled")
    require_same(small, encoded)
    assert encoded.mapped == "", "it is the features that are trained on"
    assert not own_encoders.CALLS, "equal examples have the features that are filed"


# ------------------------------------------------------------------------------------------------ per column


@pytest.mark.parametrize(("kind", "by", "over"), [("float64", None, (0,)), ("uint8 images", "channel", (0, 2, 3))])
@pytest.mark.parametrize("is_large", [False, True])
def test_columns_are_standardised_by_the_training_rows_of_the_first_task_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool, kind: str, by: str | None, over: tuple[int, ...]
) -> None:
    """Against numpy; and all rows that are not to be looked at are changed wildly."""
    if is_large:
        large(monkeypatch)
    stream = load(as_npz(tmp_path / "data", KINDS[kind]), standardise=by, steering_frac=0.2)
    train = stream.x[stream.tasks[0].train].double().numpy()
    assert np.allclose(stream.shift, train.mean(over, keepdims=True)[0], rtol=1e-6)
    assert np.allclose(stream.scale, 1 / train.std(over, keepdims=True)[0], rtol=1e-6)
    wild = tmp_path / "wild"
    wild.mkdir()
    for k in range(3):
        content = dict(np.load(tmp_path / "data" / f"task-{k}.npz"))
        seen = stream.tasks[0].train if k == 0 else np.empty(0, np.int64)
        others = ~np.isin(np.arange(len(content["x_train"])), seen)  # the first task's rows come first in the store
        content["x_train"][others] = 255 if kind == "uint8 images" else 1e20
        content["x_test"][:] = 0
        np.savez(wild / f"task-{k}.npz", **content)
    again = load(wild, standardise=by, steering_frac=0.2)
    assert torch.equal(torch.as_tensor(again.shift), torch.as_tensor(stream.shift))
    assert torch.equal(torch.as_tensor(again.scale), torch.as_tensor(stream.scale))
    assert torch.equal(again.x[again.tasks[0].train], stream.x[stream.tasks[0].train])
    assert not torch.equal(again.x[again.tasks[0].validation], stream.x[stream.tasks[0].validation])
    content = dict(np.load(wild / "task-0.npz"))
    content["x_train"][stream.tasks[0].train[0]] = 7
    np.savez(wild / "task-0.npz", **content)
    moved = load(wild, standardise=by, steering_frac=0.2)
    assert not torch.equal(torch.as_tensor(moved.shift), torch.as_tensor(stream.shift)), "and it would be seen"
