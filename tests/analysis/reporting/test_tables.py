"""Tables in three formats, and their escapes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

import analysis
from analysis.description import Setting, study
from analysis.fronts import Front
from cfsweep.errors import InputError
from tests.analysis.folder import Folder, matrix_for


@pytest.fixture(scope="module")
def found(known_once: Path) -> Front:
    runs = analysis.load(known_once)
    return analysis.front(analysis.trials(runs), runs=runs)


@pytest.fixture(scope="module")
def settings(known_once: Path) -> tuple[Setting, ...]:
    return study(known_once).searched


def test_markdown_is_best_first_with_the_references_last(found: Front, settings: tuple[Setting, ...]) -> None:
    lines = analysis.table(found, settings).splitlines()
    assert lines[0].startswith("| trial | average score | stability | plasticity | corrected | front share |")
    assert lines[1] == "|" + " --- |" * 9
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 2", "| 4", "| 1", "| 0 (default)", "| joint", "| naive"]
    assert "| 0.833 ± 0.010 | 0.800 ± 0.010 | 0.900 ± 0.010 | 0.833 | 1 |" in lines[2]


def test_all_ranked_trials(found: Front, settings: tuple[Setting, ...]) -> None:
    lines = analysis.table(found, settings, which="all").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 2",
        "| 4",
        "| 3",
        "| 1",
        "| 0 (default)",
        "| joint",
        "| naive",
    ]


def test_csv_keeps_every_digit(found: Front, settings: tuple[Setting, ...]) -> None:
    rows = list(csv.DictReader(io.StringIO(analysis.table(found, settings, "csv"))))
    assert [row["trial"] for row in rows] == ["2", "4", "1", "0", "-2", "-1"]
    assert float(rows[0]["average_score"]) == pytest.approx(2.5 / 3, abs=1e-15)
    assert float(rows[0]["corrected_average_score"]) == pytest.approx(2.5 / 3)
    assert (rows[0]["on_front"], rows[3]["on_front"], rows[5]["on_front"]) == ("True", "False", "")
    assert (rows[0]["ewc_lambda"], rows[5]["ewc_lambda"]) == ("100.0", "")


def test_latex(found: Front, settings: tuple[Setting, ...]) -> None:
    lines = analysis.table(found, settings, "latex").splitlines()
    assert lines[:2] == [r"\begin{tabular}{lllllllll}", r"\toprule"]
    assert r"replay\_ratio" in lines[2]
    assert lines[2].endswith(r"\\")
    assert lines[4].startswith(r"2 & 0.833 $\pm$ 0.010 & ")


def test_unknown_formats_name_the_known_ones(found: Front) -> None:
    with pytest.raises(InputError, match=r"unknown format `marked`\. Known, closest first: markdown"):
        analysis.table(found, (), "marked")


def test_names_cannot_break_out(tmp_path: Path) -> None:
    name = "=a|b&c_<i>\\"
    folder = Folder(tmp_path, hypers={name: {"kind": "choice", "default": "@x|y", "searched": True, "log": False}})
    folder.run(0, 0, matrix_for(0.5, 0.6))
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    settings = study(tmp_path).searched
    assert r"=a\|b&c\_\<i\>\\ |" in analysis.table(found, settings)
    assert r"@x\|y |" in analysis.table(found, settings)
    assert r"=a|b\&c\_\textless{}i\textgreater{}\textbackslash{}" in analysis.table(found, settings, "latex")
    head, row = csv.reader(io.StringIO(analysis.table(found, settings, "csv")))
    assert (head[-1], row[-1]) == (f"'{name}", "'@x|y")


def test_an_empty_front_is_an_empty_table(tmp_path: Path) -> None:
    found = analysis.front(analysis.trials(analysis.load(Folder(tmp_path).write())))
    for format in ("markdown", "latex", "csv"):
        assert "stability" in analysis.table(found, (), format)
