"""What the plane of stability and plasticity shows: its range, and the rows that stand out."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.reporting.plane import box_of, marks, padded
from tests.analysis.folder import Folder, matrix_for


def test_a_range_is_widened_by_its_share_or_the_least() -> None:
    assert padded([0.25, 0.75]) == pytest.approx((0.21, 0.79))
    assert padded([0.5, 0.5]) == (0.48, 0.52)


def test_a_range_ends_where_accuracies_do() -> None:
    assert padded([0.0, 1.0]) == (0.0, 1.0)
    assert padded([1.0]) == (0.98, 1.0)
    assert padded([0.0, 0.01]) == pytest.approx((0.0, 0.03))


def test_the_box_holds_trials_and_references(known: Path) -> None:
    found = analysis.front(analysis.trials(analysis.load(known)))
    # Stability from 0.4 (naive) to 0.9 (joint), plasticity from 0.7 (trial 0) to 0.96 (naive).
    assert box_of(found) == pytest.approx((0.4 - 0.04, 0.9 + 0.04, 0.7 - 0.0208, 0.96 + 0.0208))


def test_marks_are_the_references_the_default_and_the_chosen_trial(known: Path) -> None:
    found = analysis.front(analysis.trials(analysis.load(known)))
    places = {mark.name: (mark.x, mark.y) for mark in marks(found, chosen=2)}
    assert list(places) == ["naive", "joint", "default", "chosen"]
    assert places["naive"] == pytest.approx((0.4, 0.96))
    assert places["chosen"] == pytest.approx((0.8, 0.9))
    assert [mark.name for mark in marks(found)] == ["naive", "joint", "default"]


def test_what_has_not_finished_is_not_marked(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(1, 0, matrix_for(0.5, 0.6))
    folder.run(-1, 0, matrix_for(0.5, 0.6)[:1], state="stopped")
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    assert [mark.name for mark in marks(found, chosen=1)] == ["chosen"]
    assert marks(found, chosen=7) == []
