"""What the benchmark of images measures, on a few of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import images
from benchmarks.page import put_section


def test_photographs_are_read_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    images.write_photographs(tmp_path / "photographs", 200, (24, 32))
    stream, first = images.loaded(tmp_path / "photographs", 16)
    assert tuple(stream.x.shape) == (200, 3, 16, 16)
    again, memory = images.looked_at(tmp_path / "photographs", 16)
    assert first > 0 < again
    assert memory.of_files >= 0


def test_each_augmentation_is_trained_beside_none(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[tuple[str, ...], int]] = []

    def seconds(stream: images.Stream, network: images.NetworkConfig, runs: int) -> float:
        trained.append((stream.augment, runs))
        return 1.0 + len(stream.augment)

    monkeypatch.setattr(images, "training_s", seconds)
    rows = images.cost_rows(84, ["mlp"], 2)
    assert rows == [
        ["mlp, 1 run", "1000.00", "2.00", "3.00", "2.00"],
        ["mlp, 8 runs", "125.00", "2.00", "3.00", "2.00"],
    ]
    assert trained == [(names, runs) for runs in (1, 1, 8, 8) for names in ((), *images.AUGMENTATIONS)]


def test_a_pack_is_really_trained() -> None:
    stream = images.small_images(84)
    assert np.array_equal(
        np.concatenate([stream.tasks[0].parts[p] for p in ("train", "validation", "test")]), range(84)
    )
    assert images.training_s(stream, images.NETWORKS["mlp"], 2) > 0


def test_the_page_has_a_place_for_them(tmp_path: Path) -> None:
    page = tmp_path / "images.md"
    page.write_text(images.PAGE.read_text())
    put_section(page, "images", "new")
    assert "<!-- begin images -->\nnew\n<!-- end images -->" in page.read_text()
