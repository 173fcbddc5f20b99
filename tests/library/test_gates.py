"""Gates from Python: what the command says, as an object."""

from __future__ import annotations

from pathlib import Path

import pytest

import cfsweep
from cfsweep.errors import InputError
from cfsweep.results.schema import MAJORITY_TRIAL
from tests.analysis.folder import Folder
from tests.bundle.test_paired import data, first_two, gate, joint, train
from tests.conftest import Run

__all__ = ["data", "first_two"]  # fixtures


def lines_of(text: str) -> list[str]:
    """Without the rules of tables, and the spaces between words."""
    found = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in found if line.strip("─━╶ ")]


@pytest.mark.usefixtures("no_program")
def test_two_models_are_judged_as_by_the_command(run: Run, data: Path, first_two: Path, tmp_path: Path) -> None:
    old, new = joint(first_two, tmp_path / "old"), train(data, tmp_path / "new")
    for champion, candidate in ((old, old), (old, new)):
        code, out, err = gate(run, champion, candidate)
        found = cfsweep.gate(champion, candidate, 0.02)
        assert isinstance(found, cfsweep.Gate)
        assert (bool(found), found.passes) == (code == 0, code == 0)
        said = out + err.removeprefix("cfsweep: ")
        assert lines_of(repr(found)) == lines_of(said)
        shown = found._repr_html_()
        assert shown.count("<tr>") == 1 + len(found.tasks)
        assert "<td>0 task-0</td>" in shown
    assert [one.name for one in found.tasks] == ["task-0", "task-1", "task-2"]
    assert [one.fell for one in found.tasks] == [True, True, False]
    assert cfsweep.gate(old, new, 0.9, score="macro_f1", data=data.parent, stream=data).of_models.score == "macro_f1"
    for asked, line in (({"max_drop": -1}, "0 <= max-drop"), ({"max_drop": 0.1, "score": "rmse"}, "unknown score")):
        with pytest.raises(InputError, match=line):
            cfsweep.gate(old, new, **asked)


def test_the_trial_of_a_study_is_judged_as_by_the_command(run: Run, tmp_path: Path) -> None:
    made = Folder(tmp_path / "study")
    for seed, shift in enumerate((0.01, -0.01)):
        made.run(0, seed, [[0.99, 0.9, 0.9], [0.99, 0.99, 0.9], [0.99, 0.98 + shift, 0.97 + shift]])
        made.run(MAJORITY_TRIAL, seed, [[0.9, 0.9, 0.9]] * 3)
    sweep = cfsweep.Sweep(made.write())
    for minimum, passes in ((0.9, True), (0.995, False)):
        code, out, err = run("gate", sweep.folder, "--min-average-score", str(minimum))
        found = sweep.gate(min_average_score=minimum)
        assert (bool(found), code) == (passes, 0 if passes else 1)
        assert lines_of(repr(found)) == lines_of(out + err.removeprefix("cfsweep: "))
        assert found.tasks == ()
        assert found._repr_html_().startswith("<p>")
    with pytest.raises(InputError, match="nothing to check"):
        sweep.gate()
