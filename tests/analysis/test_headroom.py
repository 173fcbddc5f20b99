"""Whether the seeds show that forgetting leaves a remedy anything to gain."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.headroom import note_on_headroom
from tests.analysis.folder import Folder, matrix_for


def said(root: Path, naive: tuple[float, ...], joint: tuple[float, ...]) -> str | None:
    """What is said where stability and plasticity of both references, seed by seed, are these."""
    folder = Folder(root)
    for trial, accuracies in ((-1, naive), (-2, joint)):
        for seed, accuracy in enumerate(accuracies):
            folder.run(trial, seed, matrix_for(accuracy, accuracy))
    for seed in range(len(naive)):
        folder.run(0, seed, matrix_for(0.7, 0.7))
    return note_on_headroom(analysis.load(folder.write()))


def test_a_difference_that_seeds_do_not_show_is_told_with_its_interval(tmp_path: Path) -> None:
    text = said(tmp_path, (0.80, 0.80, 0.80), (0.80, 0.82, 0.84))
    assert text is not None
    assert text.startswith("No remedy is needed here, as far as these seeds show:")
    assert text.endswith("minus that of naive is +0.0200, 95 % interval -0.0297 to +0.0697."), "4.303 · 0.02 / √3"


def test_nothing_is_said_where_joint_is_above_naive(tmp_path: Path) -> None:
    assert said(tmp_path, (0.80, 0.80, 0.80), (0.84, 0.85, 0.86)) is None, "0.05 ± 0.025"


def test_it_is_said_where_joint_is_below_naive(tmp_path: Path) -> None:
    text = said(tmp_path, (0.84, 0.85, 0.86), (0.80, 0.80, 0.80))
    assert text is not None
    assert "is -0.0500, 95 % interval -0.0748 to -0.0252" in text


@pytest.mark.parametrize(
    ("naive", "joint"),
    [((0.8, 0.8), (0.8, 0.8)), ((0.8, 0.8, 0.8), ())],
    ids=["two seeds", "no joint"],
)
def test_nothing_is_said_without_three_seeds_of_both(
    tmp_path: Path, naive: tuple[float, ...], joint: tuple[float, ...]
) -> None:
    assert said(tmp_path, naive, joint) is None


def test_equal_references_have_nothing_between_them(tmp_path: Path) -> None:
    text = said(tmp_path, (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
    assert text is not None
    assert "is +0.0000, 95 % interval +0.0000 to +0.0000" in text


def test_the_front_says_it(tmp_path: Path) -> None:
    said(tmp_path, (0.8, 0.8, 0.8), (0.8, 0.8, 0.8))
    runs = analysis.load(tmp_path)
    assert any(note == note_on_headroom(runs) for note in analysis.front(analysis.trials(runs), runs=runs).notes)
