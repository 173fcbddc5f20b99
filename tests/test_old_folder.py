"""A results folder of an earlier version, left by a driver that was killed: it is read, reported and resumed.

`fixtures/old_folder/study` was written by revision 36b1147, with two packs on their way; beside it lie the accuracies
that this revision gave the runs of those packs when it went on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import analysis
from cfsweep.results.status import status

OLD = Path(__file__).parent / "fixtures" / "old_folder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the old folder."""
    return Path(shutil.copytree(OLD / "study", tmp_path / "study"))


def test_it_is_read(folder: Path) -> None:
    now = status(folder)
    assert (now.study_id, now.done, now.trials, now.seeds) == ("cfcce349289c", 2, 14, 2)
    runs = analysis.load(folder)
    assert runs["trial"].tolist() == [-2, -2, -1, -1, 0, 0, 1, 1]
    assert runs.loc[runs["trial"] == 0, "fisher_convention"].str.startswith("true label").all()
    assert analysis.accuracy_matrix(folder, trial=0).shape == (6, 5)


def test_it_is_reported(folder: Path) -> None:
    page = analysis.report(folder).read_text()
    assert "cfcce349289c" in page
    assert analysis.select(folder)["trial"] in (0, 1)
