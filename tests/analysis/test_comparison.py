"""Gates and paired comparisons."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from cfsweep.errors import InputError, NoAnswerError
from tests.analysis.folder import Folder, matrix_for


def test_a_gate_that_holds_says_what_it_checked(known: Path) -> None:
    lines = analysis.gate(known, min_average_accuracy=0.8, min_stability=0.7, min_plasticity=0.85, beats="naive")
    assert len(lines) == 4
    assert lines[0].startswith("trial 2 (highest average validation accuracy): average_accuracy 0.8333 >= 0.8")
    assert "beats naive" in lines[3]


def test_a_gate_that_fails_lists_every_reason(known: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"average_accuracy 0\.8333 < 0\.9; stability 0\.8000 < 0\.95"):
        analysis.gate(known, min_average_accuracy=0.9, min_stability=0.95, min_plasticity=0.1)


def test_a_gate_checks_the_selection_when_there_is_one(known: Path) -> None:
    analysis.select(known, "stability_at_least", at_least=0.4)
    with pytest.raises(NoAnswerError, match=r"trial 1 \(selected by stability_at_least\) fails: stability 0\.5"):
        analysis.gate(known, min_stability=0.6)


def test_the_default_does_not_beat_itself(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6))
    with pytest.raises(NoAnswerError, match=r"does not beat default in average_accuracy \(\+0\.0000\)"):
        analysis.gate(folder.write(), beats="default")
    with pytest.raises(NoAnswerError, match="naive has no finished run"):
        analysis.gate(tmp_path, beats="naive")


def test_a_gate_needs_something_to_check(known: Path) -> None:
    with pytest.raises(InputError, match="nothing to check"):
        analysis.gate(known)
    with pytest.raises(InputError, match="unknown opponent `joint`"):
        analysis.gate(known, beats="joint")


def test_a_gate_on_an_empty_study_fails(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="no trial has finished yet"):
        analysis.gate(Folder(tmp_path).write(), min_stability=0.1)


def test_paired_differences_cancel_what_seeds_share(known: Path) -> None:
    by_name = {d.metric: d for d in analysis.compare(known, first=0, second=2)}
    stability = by_name["stability"]
    assert (stability.first, stability.second) == (pytest.approx(0.6), pytest.approx(0.8))
    assert stability.interval == pytest.approx((0.2, 0.2))
    assert stability.n_seeds == 2
    assert by_name["train_s"].difference == pytest.approx(0.2)


def test_two_folders(known: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "other")
    folder.run(0, 1, matrix_for(0.91, 0.91))
    found = {d.metric: d for d in analysis.compare(known, folder.write())}
    assert found["stability"].difference == pytest.approx(0.91 - 0.81), "over seed 1 alone"
    assert found["stability"].interval is None


def test_what_cannot_be_compared(known: Path, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other", stream="split-mnist")
    other.run(0, 0, matrix_for(0.9, 0.9))
    with pytest.raises(InputError, match="Their seeds are no pairs"):
        analysis.compare(known, other.write())
    apart = Folder(tmp_path / "apart")
    apart.run(0, 9, matrix_for(0.9, 0.9))
    with pytest.raises(InputError, match="share no seed"):
        analysis.compare(known, apart.write())
    with pytest.raises(InputError, match="trial 5 has no finished run"):
        analysis.compare(known, first=5, second=0)
