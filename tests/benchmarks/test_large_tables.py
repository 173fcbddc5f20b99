"""What the benchmark of large data measures, on a few rows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import large_tables
from benchmarks.page import put_section


@pytest.mark.parametrize("name", large_tables.ARGS)
def test_both_ways_are_what_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cfsweep.training.streams._cache.IN_MEMORY_BYTES", 0)
    large_tables.write_data(tmp_path / "data", 800, 3)
    mapped = large_tables.looked_at(tmp_path / "data" / name, in_memory=False)
    in_memory = large_tables.looked_at(tmp_path / "data" / name, in_memory=True)
    assert (mapped["mapped"], in_memory["mapped"]) == (True, False)
    assert min(mapped["s"], mapped["ms"], in_memory["ms"]) > 0


def test_what_is_given_back_was_seen() -> None:
    with large_tables.Highest() as most:
        before, kept = most.own, []
        for _ in range(20):  # until the watcher has seen it; a large process has room for the first ones already
            kept.append(np.ones(4_000_000))
            time.sleep(0.05)
            if most.own >= before + 2e7:
                break
        del kept
    assert most.own >= before + 2e7


def test_the_page_has_a_place_for_it(tmp_path: Path) -> None:
    page = tmp_path / "own-data.md"
    page.write_text(large_tables.PAGE.read_text())
    put_section(page, "large", "new")
    assert "<!-- begin large -->\nnew\n<!-- end large -->" in page.read_text()
