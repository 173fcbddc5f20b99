"""Columns that float32 cannot hold: what is found, what the network then sees, and what stays as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.engine.store import store_on
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._float32 import coarse
from cfsweep.training.streams._own_data import checked_examples, digest, own_stream
from cfsweep.training.streams._own_tasks import OwnTask

KEY = "columns standardised in float64"
Arrays = list[NDArray[Any]]


def stream_of(parts: Arrays, by: str | None = None) -> Stream:
    """One task per pair of arrays, train and test; labels in turns."""
    examples = [checked_examples(x, np.arange(len(x)) % 2, "here") for x in parts]
    given = [OwnTask(str(k // 2), examples[k], examples[k + 1]) for k in range(0, len(parts), 2)]
    return own_stream(StreamConfig.model_validate({"name": "own", "standardise": by}), given, {"a": "0"})


def seen(stream: Stream, task: int, part: str) -> NDArray[np.float64]:
    """What the network is given of a part, in the order of the store."""
    rows = np.sort(np.concatenate([getattr(stream.tasks[task], p) for p in (("train", "validation", part)[:2])]))
    rows = rows if part == "train" else stream.tasks[task].test
    found: NDArray[np.float64] = store_on(torch.device("cpu"), stream)[torch.from_numpy(rows)].double().numpy()
    return found


def expected(parts: Arrays, stream: Stream, over: tuple[int, ...]) -> Arrays:
    """By plain numpy in float64, from what was left to train on of the first task (or of all, for one number)."""
    wide = [part.astype(np.longdouble) for part in parts]
    starts = np.cumsum([0, *map(len, parts)])
    tasks = stream.tasks if len(over) == wide[0].ndim else stream.tasks[:1]
    first = np.concatenate([wide[2 * k][task.train - starts[2 * k]] for k, task in enumerate(tasks)])
    mean, deviation = first.mean(over, keepdims=True), first.std(over, keepdims=True)
    return [((part - mean) / np.where(deviation == 0, 1, deviation)).astype(np.float64) for part in wide]


def drawn(shape: tuple[int, ...], n_tasks: int = 2, n: int = 40) -> Arrays:
    return [np.random.default_rng(k).normal(size=(n, *shape)) for k in range(2 * n_tasks)]


SECONDS = np.int64(1_700_000_000) * 10**9  # of nanoseconds since 1970, some day in 2023

OFFSETS: dict[str, Arrays] = {
    "1e9 ± 10": [1e9 + 10 * x for x in drawn((3,))],
    "one column of three": [x + np.array([0.0, -4e12, 1.0]) for x in drawn((3,))],
    "nanoseconds": [SECONDS + (1e10 * x).astype(np.int64) for x in drawn((2,))],
    "identifiers in int32": [(2_000_000_000 + 40 * x).astype(np.int32) for x in drawn((2,))],
    "uint64": [(2**60 + 1e9 * x).astype(np.uint64) for x in drawn((2,))],
    "another offset in the test data": [1e9 + 10 * x + 5 * (k % 2) for k, x in enumerate(drawn((3,)))],
    "the second task alone": [x if k < 2 else 1e6 + x for k, x in enumerate(drawn((3,)))],
    "constant within each task": [
        np.column_stack([x, np.full(len(x), 1e9 + 3.0 * (k // 2))]) for k, x in enumerate(drawn((1,)))
    ],
    "too small": [1e-44 * x for x in drawn((3,))],
}


@pytest.mark.parametrize("kind", OFFSETS)
def test_what_lies_far_from_zero_is_seen_as_float64_would_give_it(kind: str) -> None:
    parts = OFFSETS[kind]
    stream = stream_of(parts)
    assert stream.x.dtype == torch.float32
    for k, wanted in enumerate(expected(parts, stream, (0,))):
        found = seen(stream, k // 2, "test" if k % 2 else "train")
        scale = wanted.std(0).max()
        assert np.allclose(found / scale, wanted / scale, atol=0.05 if kind == "the second task alone" else 2e-5)
    assert set(stream.files) == {"a", KEY}


@pytest.mark.parametrize(
    ("by", "over"), [(None, (0, 1, 2, 3)), ("scalar", (0, 1, 2, 3)), ("channel", (0, 2, 3)), ("feature", (0,))]
)
def test_so_are_images(by: str | None, over: tuple[int, ...]) -> None:
    parts = [1e9 + 10 * x + np.arange(2).reshape(2, 1, 1) for x in drawn((2, 3, 3))]
    stream = stream_of(parts, by)
    for k, wanted in enumerate(expected(parts, stream, over)):
        assert np.allclose(seen(stream, k // 2, "test" if k % 2 else "train"), wanted, atol=2e-5)


FINE: dict[str, Arrays] = {
    "normal": drawn((3,)),
    "uint8": [(100 + 20 * x).astype(np.uint8) for x in drawn((3,))],
    "years": [2000 + 10 * x for x in drawn((3,))],
    "seconds within months": [1.7e9 + 1e6 * x for x in drawn((3,))],
    "whole numbers that float32 holds": [(16_000_000 + 5 * x).astype(np.int64) for x in drawn((3,))],
    "float32 already": [(1e9 + 10 * x).astype(np.float32) for x in drawn((3,))],
    "a constant": [np.column_stack([x, np.full(len(x), 0.1)]) for x in drawn((2,))],
    "a constant but for rounding": [np.column_stack([x, 0.1 * (1 + 2.2e-16 * np.arange(len(x)))]) for x in drawn((2,))],
    "nothing but constants": [np.full((40, 3), 1e9 + 1) for _ in range(4)],
    "an outlier": [np.where(np.arange(len(x))[:, None] == 7, 1e30, x) for x in drawn((3,))],
    "images": drawn((2, 3, 3)),
    "images with a pixel that hardly varies": [
        x + np.arange(2).reshape(1, 2, 1) * (254.9 - 0.99999 * x) for x in drawn((2, 2))
    ],
    "a part whose values lie together by chance": [
        x if k < 3 else 0.7 + 1e-6 * x for k, x in enumerate(drawn((3,), n=20))
    ],
}


@pytest.mark.parametrize("kind", FINE)
def test_all_else_is_cast_as_ever_and_so_are_its_hashes(kind: str) -> None:
    parts = FINE[kind]
    stream = stream_of(parts)
    assert set(stream.files) == {"a"}
    plain = np.concatenate(parts)
    assert np.array_equal(stream.x.numpy(), plain if plain.dtype == np.uint8 else plain.astype(np.float32))
    given = [OwnTask("", checked_examples(x, np.arange(len(x)) % 2, ""), None) for x in parts]
    total = hashlib.sha256()
    for x in parts:
        x = x if x.dtype == np.uint8 else x.astype(np.float32)
        for array in (x, np.arange(len(x)) % 2):
            total.update(f"torch.{array.dtype}{array.shape}".encode() + array.tobytes())
    assert digest(given) == total.hexdigest()


def test_columns_beside_a_coarse_one_keep_their_bits() -> None:
    parts = [np.column_stack([x, 1e9 + 10 * x[:, 0]]) for x in drawn((2,))]
    assert np.array_equal(stream_of(parts).x[:, :2].numpy(), np.concatenate(parts)[:, :2].astype(np.float32))


def test_a_column_is_coarse_if_the_cast_takes_more_than_a_thousandth_of_range_and_deviation() -> None:
    """Against a slow twin, of two parts."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        parts = [
            10.0 ** rng.uniform(-3, 9) * rng.choice([-1, 1]) + 10.0 ** rng.uniform(-3, 6) * rng.normal(size=(9, 1))
            for _ in range(2)
        ]
        lost = [max(abs(float(v) - float(np.float32(v))) for v in x[:, 0]) for x in parts]
        slow = [o > 1e-3 * np.ptp(x) and o > 1e-3 * parts[0].std() for o, x in zip(lost, parts, strict=True)]
        assert [bool(one[0]) for one in coarse(parts, "feature")] == slow
        found += slow
    assert 50 < sum(found) < 550


def refusal(parts: Arrays, by: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        stream_of(parts, by)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["1e9 ± 10", "nanoseconds", "one column of three", "constant within each task"])
def test_without_standardising_they_are_refused(kind: str) -> None:
    line = refusal(OFFSETS[kind], "none")
    assert "float32, in which networks compute, is too coarse for x[:, " in line
    assert "and standardise=none does not bring them near 0. Set `stream.standardise=feature`." in line


@pytest.mark.parametrize(("shape", "by"), [((1,), "feature"), ((2, 3), "scalar"), ((2, 3), "channel")])
def test_what_the_offset_of_the_first_task_does_not_mend_is_refused(shape: tuple[int, ...], by: str) -> None:
    line = refusal([x + (1e9 if k < 2 else 2e12) for k, x in enumerate(drawn(shape))], by)
    place = "x[:, 0]" if len(shape) == 1 else "x[:, 0, 0]"
    assert f"task `1`: float32, in which networks compute, is too coarse for {place}, whose values lie bet" in line
    assert "between 199999999999" in line
    assert line.endswith(f"standardise={by} does not bring them near 0. Subtract an offset from it, or drop it.")


def test_the_column_of_a_file_is_named(tmp_path: Path) -> None:
    for k in range(2):
        when = SECONDS + (1e9 * np.random.default_rng(k).normal(size=40)).astype(np.int64)
        frame = pd.DataFrame({"a": np.arange(40.0), "when": when, "y": np.arange(40) % 2})
        frame.to_parquet(tmp_path / f"task-{k}.parquet", index=False)
    said = (
        "task `task-0`: float32, in which networks compute, is too coarse for column `when`, whose values lie between 1"
    )
    with pytest.raises(InputError, match=said):
        load_stream(StreamConfig(name=str(tmp_path), standardise="none"))
    stream = load_stream(StreamConfig(name=str(tmp_path)))
    assert set(stream.files) == {"task-0.parquet", "task-1.parquet", KEY}
    assert float(stream.x[:, 1].std()) > 0.5


def test_another_value_within_the_rounding_is_other_data() -> None:
    parts = OFFSETS["1e9 ± 10"]
    other = [x.copy() for x in parts]
    other[3][5, 1] += 1.0
    assert np.array_equal(np.float32(other[3]), np.float32(parts[3]))
    assert stream_of(parts).files[KEY] != stream_of(other).files[KEY]
    assert stream_of(parts).files == stream_of(parts).files


@pytest.mark.parametrize("times", [1e-40, 1e-42])
def test_what_varies_too_little_to_be_scaled_up_is_refused(times: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    x[:, 2] *= times
    tasks = [OwnTask(str(task), checked_examples(x, y, "train"), checked_examples(x, y, "test")) for task in range(2)]
    with pytest.raises(InputError, match="must vary by more than 1e-38"):
        own_stream(StreamConfig(name="own"), tasks, {})
