"""The gate of a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import analysis
from cfsweep.errors import InputError, NoAnswerError
from tests.analysis.folder import Folder, matrix_for
from tests.conftest import Run


def test_a_gate_that_holds_says_what_it_checked(known: Path) -> None:
    lines = analysis.gate(known, min_average_score=0.8, min_stability=0.7, min_plasticity=0.85, beats="naive")
    assert len(lines) == 5
    assert lines[0].startswith("trial 2 (highest average validation score): average_score 0.8333 >= 0.8")
    assert "beats naive" in lines[3]
    assert (
        lines[4] == "All seeds have the same validation examples: what others would say is in no interval (`--splits`)."
    )
    assert len(analysis.gate(known, min_average_score=0.8)) == 1, "there is no interval"


def test_a_gate_that_fails_lists_every_reason(known: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"average_score 0\.8333 < 0\.9 \(.*\); stability 0\.8000 < 0\.95 \("):
        analysis.gate(known, min_average_score=0.9, min_stability=0.95, min_plasticity=0.1)


def test_a_gate_checks_the_selection_when_there_is_one(known: Path) -> None:
    analysis.select(known, "stability_at_least", at_least=0.4)
    with pytest.raises(NoAnswerError, match=r"trial 1 \(selected by stability_at_least\) fails: stability 0\.5"):
        analysis.gate(known, min_stability=0.6)


def test_the_default_does_not_beat_itself(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6))
    with pytest.raises(NoAnswerError, match=r"does not beat default .* \(\+0\.0000: it is default itself\)"):
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


def test_what_a_gate_found_is_written_for_a_program(run: Run, known: Path, tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    asked = ("gate", known, "--beats", "naive", "--json", path, "--min-average-score")
    code, out, _ = run(*asked, "0.8")
    found = json.loads(path.read_text())
    assert (code, found["passes"], found["study"], found["trial"]) == (0, True, str(known), 2)
    *checks, note = out.splitlines()
    assert [line.split(": ", 1)[1] for line in checks] == [one["says"] for one in found["checks"]]
    assert found["notes"] == [note]
    code, _, err = run(*asked, "0.9")
    found = json.loads(path.read_text())
    assert (code, found["passes"]) == (1, False)
    assert [one["passes"] for one in found["checks"]] == [False, True]
    assert found["checks"][0]["says"] in err
    assert run(*asked, "7")[0] == 2
    assert json.loads(path.read_text()) == found, "nothing is written where the question is wrong"
