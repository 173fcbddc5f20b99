"""What is held out is what came last: in folders, in functions, and in what is built in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.notes import share_note, unlearned_note
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.streams._latest import latest_cut


def numbered(n: int, first: int = 0) -> np.ndarray:
    """Examples whose one value says when they came."""
    return np.arange(first, first + n, dtype=np.float32)[:, None]


def folder_of(path: Path, with_test: bool) -> Path:
    path.mkdir()
    for task in range(2):
        arrays: dict[str, Any] = {"x_train": numbered(50), "y_train": np.arange(50) % 2}
        if with_test:
            arrays |= {"x_test": numbered(10, 50), "y_test": np.arange(10) % 2}
        np.savez(path / f"t{task}.npz", **arrays)
    return path


def moments(stream: Stream, part: str, task: int = 0) -> list[float]:
    return stream.x[stream.tasks[task].parts[part]][:, 0].tolist()


def load(name: str, **settings: Any) -> Stream:
    return load_stream(StreamConfig(name=name, validation="latest", **settings))


def test_of_a_folder_the_order_of_rows_is_time(tmp_path: Path) -> None:
    stream = load(str(folder_of(tmp_path / "a", True)), validation_frac=0.2, steering_frac=0.1)
    assert stream.validation == "latest"
    for task in range(2):
        assert moments(stream, "train", task) == list(range(35))
        assert moments(stream, "steering", task) == list(range(35, 40))
        assert moments(stream, "validation", task) == list(range(40, 50))
        assert moments(stream, "test", task) == list(range(50, 60))


def test_without_test_data_the_latest_are_some(tmp_path: Path) -> None:
    stream = load(str(folder_of(tmp_path / "a", False)), validation_frac=0.25)
    assert moments(stream, "train") == list(range(30))
    assert moments(stream, "validation") == list(range(30, 40))
    assert moments(stream, "test") == list(range(40, 50))
    assert "the latest 20 % of each became that" in str(share_note(stream))
    usual = load_stream(StreamConfig(name=str(tmp_path / "a"), validation_frac=0.25))
    assert usual.validation == "random"
    assert moments(usual, "test") != moments(stream, "test")


def test_of_a_function_and_of_what_is_built_in_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timed.py").write_text(
        "import numpy as np\n"
        "def tasks():\n"
        "    x = np.arange(50, dtype=np.float32)[:, None]\n"
        "    return [((x, np.arange(50) % 2),)]\n"
    )
    monkeypatch.chdir(tmp_path)
    stream = load("timed:tasks", validation_frac=0.25)
    assert moments(stream, "validation") == list(range(30, 40))
    digits = load("split-digits")
    for task in digits.tasks:
        assert task.train.max() < task.validation.min()


def test_a_class_that_came_last_is_told_and_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    labels = np.array(["old"] * 45 + ["new"] * 5)
    np.savez(tmp_path / "a" / "t.npz", x_train=numbered(50), y_train=labels)
    stream = load(str(tmp_path / "a"))
    assert stream.tasks[0].classes == (0, 1)
    assert set(stream.user_labels(stream.tasks[0].train)) == {"old"}
    assert "tasks `t` (new): these classes come up in the latest examples alone" in str(unlearned_note(stream))
    with pytest.raises(InputError, match="too few examples of class new"):
        load_stream(StreamConfig(name=str(tmp_path / "a")))
    assert unlearned_note(load(str(folder_of(tmp_path / "b", True)))) is None


def test_shares_that_leave_a_part_empty_are_refused(tmp_path: Path) -> None:
    path = str(folder_of(tmp_path / "a", True))
    for settings, said in (
        ({"validation_frac": 0.001}, "validation_frac=0.001: too few examples: the latest 0.001 of its 50"),
        ({"validation_frac": 0.6, "steering_frac": 0.4}, "gives 30 and 20 and leaves 0"),
        ({"splits": 2}, "`splits` must be 1 where the latest examples are validation data"),
    ):
        with pytest.raises(InputError, match=said):
            load(path, **settings)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_one_by_one_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, shares = int(rng.integers(20, 90)), (float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.1, 0.3)))
    left, parts = list(range(n)), []
    for share in shares:
        size = int(share * n + 0.5)
        parts.append([left.pop() for _ in range(size)][::-1])
    kept, *cut = latest_cut(n, shares, "here")
    assert kept.tolist() == left
    assert [part.tolist() for part in cut] == parts
    assert torch.from_numpy(np.concatenate([kept, *cut])).unique().numel() == n
