"""What is printed is text, whatever it holds."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from cfsweep.terminal import Terminal, say
from cfsweep.visible import visible
from tests.conftest import Run

EVIL = "[bold]x[/nope] :skull: \x1b[2J\x1b]0;title\x07\n\r\x9b5A\u202egnp.exe\u2066\ud800 https://x"
SHOWN = r"[bold]x[/nope] :skull: \x1b[2J\x1b]0;title\x07\n\r\x9b5A\u202egnp.exe\u2066\ud800 https://x"  # as in Python


@pytest.mark.parametrize("terminal", [True, False])
def test_a_string_is_one_line_of_text_alone_and_in_a_table(terminal: bool) -> None:
    file = io.StringIO()
    console = Terminal(file=file, width=300, force_terminal=terminal, color_system=None)
    console.say(EVIL)
    console.print(f"it is {EVIL}")
    table = Table("head", EVIL, title=EVIL, box=None)
    table.add_row(EVIL, Text("ours\nand ours", style="bold"))
    console.print(table)
    printed = file.getvalue()
    assert printed.count(SHOWN) == 5
    assert printed == visible(printed, keep="\n\x1b" if terminal else "\n")
    assert len(printed.splitlines()) == 2 + 2 + 2
    if terminal:  # the title's and the heads' own style alone
        assert not {"\x1b[2J", "\x1b]0;title"} & {printed[i : i + 4] for i in range(len(printed))}


def test_a_long_line_is_not_broken() -> None:
    file = io.StringIO()
    Terminal(file=file, width=20).say("word " * 20)
    assert file.getvalue().count("\n") == 1


def test_lines_are_said_each_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    say("a", EVIL)
    say(EVIL, error=True)
    assert capsys.readouterr() == (f"a\n{SHOWN}\n", f"{SHOWN}\n")


def test_what_scripts_and_pictures_need_is_left() -> None:
    for text in ("Zürich ±", "日本", "עברית", "👩\u200d🔬", "می\u200cخواهم"):
        assert visible(text) == text


def test_what_is_no_character_is_written_out() -> None:
    assert visible("a\ufffe\ufdd0\U0001ffffb\ufffd") == r"a\ufffe\ufdd0\U0001ffffb" + "\ufffd"


def test_a_sweep_into_a_folder_of_such_a_name(run: Run, smoke: Path, tmp_path: Path) -> None:
    out, description = tmp_path / "[red]x[/nope]\x1b[2J\n", f"description: {'[/nope]'!r}"
    space = tmp_path / "[b]space.yaml"
    space.write_text(smoke.read_text() + ("" if "description:" in smoke.read_text() else f"\n{description}\n"))
    for command in (
        ("run", space, "--trials", "1", "--set", "references=false", "--workers", "0", "--out", out),
        ("run", space, "--trials", "1", "--set", "references=false", "--dry-run", "--out", out),
        ("resume", out, "--workers", "0"),
        ("status", out),
        ("status", f"{out}nothing"),
    ):
        _, printed, complaints = run(*command)
        for text in (printed, complaints):
            assert text == visible(text, keep="\n")
        assert r"[red]x[/nope]\x1b[2J\n" in (complaints or printed) or command[0] == "status"
