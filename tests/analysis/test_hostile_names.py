"""A study whose names are made to be obeyed: by a terminal, by rich, by Markdown, by a browser. That no script of such
names runs in a real one: `reporting/test_page.py`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import analysis
from cfsweep import cli
from cfsweep.visible import visible
from tests.analysis.folder import HYPERS, Folder, matrix_for

EVIL = "[red]x[/nope]\x1b[2J\x1b]0;pwned\x07\x9b\u202egnp\r\n# b `|*[l](u)<img src=x>$\\alpha$"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "[bold]study\x1b[31m"
    hypers = {f"{name}{EVIL}": about for name, about in HYPERS.items()}
    hypers[f"kind{EVIL}"] = {"kind": "choice", "default": EVIL, "searched": True, "log": False}
    names = [f"{i}{EVIL}" for i in range(3)]
    folder = Folder(root, hypers=hypers, stream=EVIL, study_id=EVIL, task_names=names)
    for trial in range(4):
        values = {name: float(trial + 1) for name in list(hypers)[:2]} | {f"kind{EVIL}": EVIL}
        for seed in range(2):
            folder.run(trial, seed, matrix_for(0.5 + trial / 100, 0.9 - trial / 200), settings=values)
    folder.run(-1, 0, matrix_for(0.4, 0.9))
    folder.run(-1000, 0, matrix_for(0.9, 0.9))  # before which no trial is anything: its tasks are named
    folder.run(4, 0, [], state="failed", failure=EVIL)
    folder.write()
    analysis.select(root)
    return root


@pytest.mark.parametrize(
    "command",
    [
        ("front",),
        ("table", "--all"),
        ("table", "--format", "csv"),
        ("table", "--format", "latex"),
        ("select", "--replace"),
        ("compare",),
        ("gate", "--min-average-score", "0.99"),
        ("report",),
        ("front", "--image", "{}/picture.svg"),
        ("front", "--objectives", EVIL),
        ("front", "--format", EVIL),
        ("report", "--out", "{}/nothing\x1b[2J/deep.html"),
        ("report", "--out", "{}/nothing\x1b[2J"),
    ],
)
def test_nothing_of_it_is_obeyed_by_a_terminal(
    command: tuple[str, ...], hostile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *options = command
    monkeypatch.setattr(sys, "argv", ["cfsweep", verb, str(hostile), *(part.format(hostile) for part in options)])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr()
    assert printed.out + printed.err
    for text in printed:
        assert text == visible(text, keep="\n")
        assert "csv" in options or "\n# b" not in text  # where a cell may have lines, in quotes


def test_nor_by_a_browser_or_a_reader_of_pictures(hostile: Path, tmp_path: Path) -> None:
    page = analysis.report(hostile, tmp_path / "report.html").read_text()
    for text in (page[: page.index("<script>")], page[page.index("</script>") :]):
        assert text == visible(text, keep="\n\t")
        assert "<img" not in text
        assert not re.search(json.dumps(EVIL)[1:20].replace("[", r"\["), text)
