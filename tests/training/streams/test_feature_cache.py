"""Features on disk: whole or made again, and nobody in the way of anybody."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.training.streams._feature_cache import cached, digest, of_weights

FEATURES = torch.arange(12.0).reshape(3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path))
    return tmp_path / "features"


class Maker:
    def __init__(self) -> None:
        self.times, self.said = 0, list[str]()

    def __call__(self) -> Tensor:
        self.times += 1
        return FEATURES

    def get(self) -> Tensor:
        return cached("key", self, self.said.append)


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    maker = Maker()
    assert torch.equal(maker.get(), FEATURES)
    assert torch.equal(maker.get(), FEATURES)
    assert maker.times == 1
    (said,) = maker.said
    assert said.startswith(f"features (3, 4) of the encoder are in {folder / 'key.safetensors'}, 0.0 MiB")
    assert [path.name for path in folder.iterdir()] == ["key.safetensors"]


@pytest.mark.parametrize("damage", ["cut short", "emptied", "one bit", "other content"])
def test_a_damaged_file_is_noticed_and_made_again(folder: Path, damage: str) -> None:
    maker = Maker()
    maker.get()
    path = folder / "key.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "one bit":
        content[-1] ^= 1
    path.write_bytes({"cut short": content[:-5], "emptied": b"", "one bit": content}.get(damage, b"something else"))
    assert torch.equal(maker.get(), FEATURES)
    assert maker.times == 2
    assert "is damaged; the features are made again" in maker.said[1]
    assert torch.equal(maker.get(), FEATURES)
    assert maker.times == 2


def test_two_that_race_both_get_whole_features(folder: Path) -> None:
    start, found = threading.Barrier(4), list[Tensor]()

    def make() -> Tensor:
        start.wait()
        return FEATURES

    workers = [threading.Thread(target=lambda: found.append(cached("key", make, lambda _: None))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    assert all(torch.equal(one, FEATURES) for one in found)
    assert [path.name for path in folder.iterdir()] == ["key.safetensors"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError) as caught:
        Maker().get()
    assert "\n" not in str(caught.value)


def test_whoever_shares_the_folder_can_read_it(folder: Path) -> None:
    Maker().get()
    assert (folder / "key.safetensors").stat().st_mode & stat.S_IRUSR


def test_each_change_of_an_array_or_a_weight_is_another_hash() -> None:
    x = np.arange(4, dtype=np.float32)
    hashes = [digest(x), digest(x.reshape(2, 2)), digest(x.astype(np.float64)), digest(x + 1)]
    assert len(set(hashes)) == 4
    w = torch.arange(4.0)
    kinds = [{"a": w}, {"b": w}, {"a": w.reshape(2, 2)}, {"a": w.bfloat16()}, {"a": w + 1}, {"a": torch.tensor(3)}]
    assert len({of_weights(kind) for kind in kinds}) == len(kinds)
