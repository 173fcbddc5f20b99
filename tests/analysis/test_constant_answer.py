"""Whoever does not beat the constant answer is called so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import analysis
from analysis.choice import opened_by
from analysis.constant_answer import all_beaten_by_majority, beaten_by_majority, notes_on_majority
from analysis.fronts import write_front
from analysis.reporting.page import render, report
from analysis.reporting.plane import box_of, marks
from analysis.reporting.tables import table
from analysis.study_gate import gate
from cfsweep.errors import NoAnswerError
from cfsweep.results.schema import MAJORITY_TRIAL
from tests.analysis.folder import Folder, matrix_for
from tests.conftest import Run

CONSTANT = [[0.92, 0.92, 0.92]] * 3  # after each task


def folder(root: Path, constant: Any = CONSTANT, **about: Any) -> Folder:
    """Trials 0 to 3, naive and joint, with two seeds: 1 and 2 are on the front, 0 is the constant answer, 1 is worse, 2
    and 3 are better."""
    made = Folder(root, **about)
    for seed in (0, 1):
        shift = 0.01 * seed - 0.005
        made.run(0, seed, CONSTANT)
        made.run(1, seed, matrix_for(0.8 + shift, 0.99))
        made.run(2, seed, matrix_for(0.95 + shift, 0.93))
        made.run(3, seed, matrix_for(0.93 + shift, 0.921))
        made.run(-1, seed, matrix_for(0.7, 0.95))
        made.run(-2, seed, matrix_for(0.96, 0.96))
        if constant is not None:
            made.run(MAJORITY_TRIAL, seed, constant)
    return made


def with_shares(root: Path, shares: list[float]) -> None:
    """Says in `study.yaml` how large the largest class of each task is."""
    study = yaml.safe_load((root / "study.yaml").read_text())
    (root / "study.yaml").write_text(yaml.safe_dump({**study, "majority": shares}))


def test_who_is_beaten_by_hand(tmp_path: Path) -> None:
    trials = analysis.trials(analysis.load(folder(tmp_path).write()))
    assert all_beaten_by_majority(trials) == [0, 1]
    why = "does not beat the constant answer (majority) in average_score (0.8633 against 0.9200)"
    assert beaten_by_majority(trials, 1) == why, "(2 * 0.8 + 0.99) / 3"
    assert beaten_by_majority(trials, 2) is None
    assert beaten_by_majority(trials, 99) is None, "there is no such trial"


def test_the_slow_way_says_the_same(sweep: Path, tmp_path: Path) -> None:
    """On many trials, against means over seeds taken one by one."""
    trials = analysis.trials(analysis.load(sweep))
    runs = analysis.load(sweep)
    row = trials[trials["trial"] == 0].assign(trial=MAJORITY_TRIAL, val_average_score=0.87)
    with_constant = pd.concat([trials, row], ignore_index=True)
    beaten = []
    for trial in range(48):
        mine = runs[(runs["trial"] == trial) & (runs["state"] == "done")]["val_average_score"].tolist()
        if sum(mine) / len(mine) <= 0.87:
            beaten.append(trial)
    assert all_beaten_by_majority(with_constant) == beaten
    assert 0 < len(beaten) < 48
    assert all_beaten_by_majority(trials) == []


def test_front_and_table_say_it(tmp_path: Path, run: Run) -> None:
    root = folder(tmp_path / "study").write()
    with_shares(root, [0.92, 0.5, 0.95])
    told = "1 trial on the front does not beat the constant answer (majority, 0.920 in average score): 1.\n"
    blind = "Tasks `0-1`, `4-5`: 92 % or more of the validation examples of each are of one class, so accuracy hardly "
    for verb in (("front",), ("table",)):
        code, out, complaints = run(*verb, root)
        assert code == 0
        assert told in (said := out + complaints)
        assert blind in said
        assert "majority" in out
    assert "| majority | 0.920 ± 0.000 |" in out


def test_the_report_says_it(tmp_path: Path) -> None:
    root = folder(tmp_path).write()
    with_shares(root, [0.92] * 3)
    page = report(root).read_text()
    headline, rest = page.split('id="front"', 1)
    for text in (
        "0.920",
        "majority (the constant answer)",
        "1 trial on the front does not beat",
        "Tasks `0-1`",
    ):
        assert text in headline
    assert ">majority<" in rest


def test_the_choice_of_such_a_trial_is_told_and_the_gate_refuses_it(tmp_path: Path, run: Run) -> None:
    made = folder(tmp_path / "study")
    made.confirm(1, 10_000, matrix_for(0.8, 0.99))
    made.confirm(MAJORITY_TRIAL, 10_000, CONSTANT)
    root = made.write()
    code, out, _ = run("select", root, "--rule", "stability_at_least", "--at-least", "0.7")
    assert code == 0
    assert "Trial 1 does not beat the constant answer (majority) in average_score (0.8633 against 0.9200).\n" in out
    assert out.count("majority") == 2, "its test accuracy is shown, too, once it was confirmed"
    with pytest.raises(NoAnswerError, match=r"trial 1 .* fails: does not beat the constant answer \(majority\)"):
        gate(root, min_plasticity=0.9)
    assert opened_by(analysis.selection(root)) == [1, 0, -1, -2, MAJORITY_TRIAL]
    assert run("select", root, "--replace")[0] == 0
    (passed,) = gate(root, min_plasticity=0.9)
    assert passed.startswith("trial 2 (selected by average_score): plasticity 0.9300 >= 0.9 (not corrected")


def test_where_nobody_beats_it_the_figure_shows_it(tmp_path: Path) -> None:
    trials = analysis.trials(analysis.load(folder(tmp_path, constant=[[0.99, 0.99, 0.99]] * 3).write()))
    found = analysis.front(trials)
    said = "No trial beats the constant answer (majority, 0.990 in average score): 4 finished, and none has "
    assert found.notes[-1].startswith(said)
    assert [mark.name for mark in marks(found)] == ["naive", "joint", "majority", "default"]
    assert box_of(found)[1] > 0.99


def test_where_all_beat_it_nothing_is_said_and_the_figure_does_without_it(tmp_path: Path) -> None:
    trials = analysis.trials(analysis.load(folder(tmp_path, constant=[[0.1, 0.1, 0.1]] * 3).write()))
    found = analysis.front(trials)
    assert notes_on_majority(trials, [0, 1, 2]) == []
    assert "constant answer" not in " ".join(found.notes)
    assert [mark.name for mark in marks(found)] == ["naive", "joint", "default"]
    assert box_of(found)[0] > 0.6, "or the trials would share a corner"
    assert found.references["method"].tolist() == ["majority", "joint", "naive"], "tables show it all the same"
    written = pd.read_parquet(write_front(found, tmp_path / "front.parquet"))
    assert MAJORITY_TRIAL in written["trial"].tolist()


def test_a_folder_of_before_is_without_it(tmp_path: Path, run: Run) -> None:
    root = folder(tmp_path / "study", constant=None).write()
    for verb in ("front", "table", "select", "report"):
        code, out, complaints = run(verb, root)
        assert code == 0
        assert "majority" not in out + complaints
    assert "majority (the constant answer)" not in (root / "report.html").read_text()
    assert analysis.selection(root)["references"] == {"naive": -1, "joint": -2}


def test_the_references_of_several_settings_leave_it_out(tmp_path: Path) -> None:
    made = folder(tmp_path, seeds=2)
    for seed in (0, 1):
        made.run(-3, seed, matrix_for(0.75, 0.95), settings={"lr": 0.01})
    for row in made.runs:
        if row["trial"] in (-1, -2):
            row["hp_lr"] = 0.001
    (note,) = (
        note for note in analysis.front(analysis.trials(analysis.load(made.write()))).notes if "Each ref" in note
    )
    assert "majority" not in note
    assert "naive with lr=0.01" in note


def test_the_latex_table_has_it_last_but_naive_and_joint(tmp_path: Path) -> None:
    trials = analysis.trials(analysis.load(folder(tmp_path).write()))
    lines = table(analysis.front(trials), (), "latex").splitlines()
    assert [line.split(" & ")[0] for line in lines[4:-2]][-3:] == ["majority", "joint", "naive"]


def test_choice_and_gate_name_the_tasks_that_an_average_hides(tmp_path: Path, run: Run) -> None:
    """The trial is far better on the first two tasks, and as good as the constant answer on the newest."""
    made = Folder(tmp_path / "study")
    for seed, shift in enumerate((0.01, -0.01)):
        made.run(0, seed, [[0.99, 0.9, 0.9], [0.99, 0.99, 0.9], [0.99, 0.99 + shift, 0.92 + shift]])
        made.run(MAJORITY_TRIAL, seed, CONSTANT)
    root = made.write()
    told = "At the end it is no better than the constant answer (majority) on 1 of 3 tasks: `4-5` (0.9200 against "
    told += "0.9200)."
    assert told in run("select", root)[1]
    assert told.replace("`", "") in render(root).replace("`", "")
    assert gate(root, min_average_score=0.9)[1:] == [told]
    assert told in run("gate", root, "--min-average-score", "0.9")[1]


def test_in_class_il_a_task_is_held_against_the_mean_over_tasks(tmp_path: Path) -> None:
    """The one class that is answered is of the first task; on the last the trial is no better than guessing."""
    made = Folder(tmp_path / "study", scenario="class-il")
    for seed, shift in enumerate((0.01, -0.01)):
        made.run(0, seed, [[0.99, 0.0, 0.0], [0.6, 0.99, 0.0], [0.43 + shift, 0.8, 0.15]])
        made.run(MAJORITY_TRIAL, seed, [[0.5, 0.0, 0.0]] * 3)
    told = "At the end it is no better than the constant answer (majority) on 1 of 3 tasks: `4-5` (0.1500 against "
    assert gate(made.write(), min_average_score=0.3)[1:] == [f"{told}0.1667)."]
