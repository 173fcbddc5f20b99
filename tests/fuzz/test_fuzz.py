"""Damaged and hostile inputs: each is a success, or one line and exit code 2; and whatever else happens is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cfsweep.visible import visible
from tests.fuzz.cases import Case, Edit
from tests.fuzz.guard import RAISED, Ended, call
from tests.fuzz.judge import fault, fault_of_repair, is_obeyed
from tests.fuzz.trial import reduced, tried
from tests.sweeping.command import ROOT, environment


def fuzz(*args: str, timeout_s: float) -> str:
    """What `python -m tests.fuzz` prints, which finds no fault."""
    command = [sys.executable, "-m", "tests.fuzz", *args]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_short_round() -> None:
    """Of what needs neither a study nor a bundle to be made first."""
    kinds = ("space", "set", "option", "table", "folder", "images")
    assert "seed 1\n" in fuzz("--n", "1000", "--seconds", "8", "--seed", "1", "--kinds", *kinds, timeout_s=300)


@pytest.mark.slow
def test_each_case_that_once_failed() -> None:
    said = fuzz("--n", "0", "--named", timeout_s=3600)
    assert ": 0 faults" in said


@pytest.mark.slow
def test_ten_thousand() -> None:
    fuzz("--n", "10000", "--seed", "1", timeout_s=8 * 3600)


# ------------------------------------------------------------------------------------------------ that it can fail

FINE = Ended(2, "", "cfsweep: space.yaml: no.\n")


def test_what_is_judged_is_what_is_written_out() -> None:
    for char in map(chr, (*range(0x10000), 0xE0001, *range(0x1FFF0, 0x20010), 0x10FFFE, 0x10FFFF)):
        assert is_obeyed(char) == (visible(char) != char), ascii(char)


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (Ended(RAISED, "", "Traceback\nKeyError: 'a'\n"), "an error came through: KeyError: 'a'"),
        (Ended(-9, "", ""), "ended by SIGKILL"),
        (Ended(3, "", ""), "exit code 3"),
        (Ended(2, "", ""), "refused without a word"),
        (Ended(2, "", "cfsweep: a\ncfsweep: b\n"), "2 lines"),
        (Ended(2, "", "cfsweep: a\nmore\n"), "a line that is not cfsweep's: more"),
        (Ended(0, "", "x.py:3: RuntimeWarning: overflow\n"), "a line that is not cfsweep's"),
        (Ended(2, "", f"cfsweep: {'x' * 3000}\n"), "more than 2,000 characters"),
        (Ended(2, "", "cfsweep: \x1b[31m\n"), "control characters"),
        (Ended(0, "\n", ""), "done without a word"),
    ],
)
def test_what_is_wrong_is_seen(ended: Ended, said: str) -> None:
    assert fault("status", FINE, {}, {}, None) is None
    assert said in str(fault("status", ended, {}, {}, None))


def test_damage_that_no_line_names_is_seen() -> None:
    for out in ("", "3 damaged", "whole: 3 files of results\n"):
        assert fault("check", Ended(1, out, ""), {}, {}, None) == "damaged, but no line says what is"
    assert fault("check", Ended(1, "a: cut\n1 damaged. `cfsweep repair`\n", ""), {}, {}, None) is None
    assert fault("repair", Ended(1, "a: cut\n", ""), {}, {}, None) == "exit code 1"


def test_what_a_repair_leaves_is_seen() -> None:
    choice = "selection.json: altered\n"
    assert fault_of_repair(Ended(0, "whole: 3 files of results\n", "")) is None
    assert fault_of_repair(Ended(1, f"a: left by a killed driver\n{choice}1 damaged\n", "")) is None
    assert fault_of_repair(Ended(1, f"a: cut\n{choice}2 damaged\n", "")) == "still damaged: a: cut"


def test_what_is_left_is_seen() -> None:
    before = {"space.yaml": 1}
    assert fault("run", FINE, before, {**before, "out/study.yaml": 1, "out/runs/a.parquet": 1}, "out") is None
    assert fault("run", FINE, before, {**before, "out/runs/a.parquet": 1}, "out") == "refused, but half-written"
    assert "temporary" in str(fault("run", Ended(0, "x", ""), before, {**before, "out/.study.yaml.x.tmp": 1}, "out"))


def test_a_case_writes_nowhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever fuzzes may be root."""
    (home := tmp_path / "home").mkdir()
    (case := home / "case").mkdir()
    (outside := tmp_path / "outside").mkdir()
    (outside / "kept").write_text("kept")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(home))

    def main() -> None:
        Path("own").write_text("x")
        for change in (
            lambda: (outside / "kept").write_text("x"),
            lambda: os.open(outside / "new", os.O_CREAT | os.O_WRONLY),
            lambda: (outside / "kept").unlink(),
            lambda: os.replace("own", outside / "kept"),
            lambda: (outside / "new").mkdir(),
            lambda: shutil.rmtree(outside),
        ):
            with pytest.raises(PermissionError):
                change()
        assert (outside / "kept").read_text() == "kept"
        sys.exit(0)

    monkeypatch.setattr("cfsweep.cli.main", main)
    assert call((), case).code == 0
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def loops() -> None:
    while True:
        pass


def raises() -> None:
    raise ValueError("planted")


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (raises, "ValueError: planted"),
        (loops, "-9"),
        (lambda: time.sleep(100), "-9"),
        (lambda: bytearray(2**34), "MemoryError"),
        (lambda: sys.exit("no"), "1"),
    ],
    ids=["raises", "loops", "waits", "takes all memory", "exits"],
)
def test_a_call_has_limits(
    does: Callable[[], object], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cfsweep.cli.main", does)
    ended = call(("status",), tmp_path, cpu_s=1, wall_s=3)
    assert said in f"{ended.code} {ended.err}"
    assert list(tmp_path.iterdir()) == []


RESUME, REPORT = "resume out --workers 0 --trials +1", "report out --out page.html"


@pytest.mark.parametrize(
    ("args", "writes", "calls"),
    [
        (("run", "space.yaml"), "out", ["run space.yaml", RESUME, REPORT]),
        (("run", "space.yaml", "--dry-run"), None, ["run space.yaml --dry-run"]),
        (("repair", "study"), None, ["repair study", "check study"]),
    ],
)
def test_what_is_accepted_is_gone_on_with(
    args: tuple[str, ...], writes: str | None, calls: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def main() -> None:
        with (tmp_path / "calls").open("a") as file:
            file.write(" ".join(sys.argv[1:]) + "\n")
        print("done")
        sys.exit(0)

    monkeypatch.setattr("cfsweep.cli.main", main)
    assert tried(Case("kind", args, writes=writes), tmp_path, tmp_path / "case").fault is None
    assert (tmp_path / "calls").read_text().splitlines() == calls


def test_a_failing_case_is_reduced_to_what_it_fails_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def main() -> None:
        if "--bad" in sys.argv and Path("bad").exists():
            raise ValueError("planted")
        sys.exit(0)

    monkeypatch.setattr("cfsweep.cli.main", main)
    edits = [
        Edit("harmless", args=("--good",)),
        Edit("an option", args=("--bad",)),
        Edit("a file", lambda folder: (folder / "bad").touch()),
        Edit("harmless too", lambda folder: (folder / "good").touch()),
    ]
    case = Case("kind", ("list",), (), tuple(edits))
    found = reduced(tried(case, tmp_path, tmp_path / "case"), tmp_path, tmp_path / "case")
    assert [edit.about for edit in found.case.edits] == ["an option", "a file"]
    assert "ValueError: planted" in str(found)
    assert os.listdir(tmp_path) == []
