"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import analysis
from analysis.cli import app, main
from tests.analysis.folder import HYPERS, Folder, half_grown, idle, matrix_for


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs `python -m analysis ...` in this process; returns exit code, standard output, standard error."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["analysis", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return int(ended.value.code or 0), seen.out, seen.err

    return called


def test_front_prints_in_a_hundred_columns_and_writes_parquet(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call("front", known, "--image", known / "front.svg")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines()[:-1])) <= 100
    lines = [line.split() for line in out.splitlines()]
    assert ["2", "0.800", "±", "0.010", "0.900", "±", "0.010", "0.833", "±", "0.010", "0.833", "1.00"] in lines
    assert ["2", "buffer_size=200,", "ewc_lambda=100,", "replay_ratio=0.2"] in lines
    assert any(line[:2] == ["0", "(default)"] for line in lines)
    assert any(line[:1] == ["naive"] for line in lines)
    assert "3 of 5 trials on the front. Hypervolume 0.745,\nwithout what noise adds 0.7450, 95 % interval 0.70" in out
    assert "reference point stability=0, plasticity=0;\nnormalisation: none." in out
    assert pq.read_table(known / "front.parquet").num_rows == 7
    assert (known / "front.svg").exists()
    assert out.count("±: standard deviation over 3 seeds, all with the same validation examples.\n") == 1


def test_many_settings_share_a_column(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    about = HYPERS["ewc_lambda"]
    folder = Folder(tmp_path, hypers={f"setting_[bold]{i}": about for i in range(7)})
    folder.run(0, 0, matrix_for(0.5, 0.6))
    _, out, _ = call("front", tmp_path if folder.write() else "")
    assert max(map(len, out.splitlines())) <= 100
    assert "setting_[bold]6=10000" in out


def test_front_takes_objectives(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("front", known, "--objectives", "stability, stored_bytes")
    assert (code, "stored_bytes / 448 (the largest among the trials)" in out) == (0, True)
    assert call("front", known, "--objectives", "stability")[0] == 2
    code, _, err = call("front", known, "--objectives", "stability,plastic")
    assert (code, err.count("\n")) == (2, 1)
    assert "unknown metric `plastic`" in err


def test_a_study_without_trials_is_no_error(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call("front", Folder(tmp_path).write())
    assert (code, out, err) == (0, "No trial has finished yet: there is no front.\n", "")
    assert call("report", tmp_path)[:2] == (0, f"{tmp_path / 'report.html'}\n")
    assert call("select", tmp_path)[0] == 1


def test_settings_that_could_not_act(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = idle(tmp_path / "idle", n_trials=6).write()
    shown = [call("front", root), call("table", root, "--all"), call("select", root), call("compare", root)]
    shown += [call("front", root, "--image", root / "front.svg"), call("gate", root, "--beats", "default")]
    assert [code for code, _, _ in shown] == [0] * 5 + [1]
    assert "2 seed(s) tell nothing of luck" in shown[-1][2]
    for code, out, err in shown:
        assert not any(word in out + err for word in ("<NA>", "nan", "NaN", "None")), code
    default = next(line for line in shown[1][1].splitlines() if line.startswith("| 0 (default)"))
    assert re.search(r"\| – \| 0.59 \| – \| – \| 0 \|$", default)
    rows = list(csv.DictReader(io.StringIO(call("table", root, "--all", "--format", "csv")[1])))
    assert (rows[-2]["replay_ratio"], rows[-2]["buffer_size"]) == ("0.0", "")


def test_table(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call("table", known, "--format", "csv", "--all")
    assert (code, len(out.splitlines())) == (0, 8)
    assert "Not ranked: 1 stopped, 1 failed." in err
    assert "±: standard deviation over 3 seeds" in err


def test_the_spread_over_splits_is_called_so(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = Folder(tmp_path, seeds=2)
    for seed in (0, 1):
        folder.run(0, seed, matrix_for(0.6 + 0.1 * seed, 0.9))
    study_file = folder.write() / "study.yaml"
    study_file.write_text(study_file.read_text().replace("name: split-digits", "name: split-digits\n    splits: 2"))
    said = "±: standard deviation over 2 seeds, which take turns with 2 validation splits."
    assert said in call("front", tmp_path)[1]
    assert said in call("table", tmp_path)[2]


def test_gate(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    assert call("gate", known, "--min-average-score", "0.8")[0] == 0
    code, out, err = call("gate", known, "--min-average-score", "0.9", "--beats", "naive")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "average_score 0.8333 < 0.9 (0.8333 before the correction for the choice among 5)" in err
    assert call("gate", known, "--beats", "naive", "--margin", "0.2")[0] == 0
    code, _, err = call("gate", known, "--beats", "naive", "--margin", "0.3")
    assert (code, "by more than 0.3 (+0.2467, 95 % interval" in err) == (
        1,
        True,
    )
    for margin in ("-0.1", "1", "nan"):
        code, _, err = call("gate", known, "--beats", "naive", "--margin", margin)
        assert (code, err.count("\n"), "`0 <= margin < 1` must hold" in err) == (2, 1, True)
    code, _, err = call("gate", known, "--min-stability", "0.1", "--margin", "0.1")
    assert (code, err) == (2, "gate: a margin needs an opponent, but got 0.1 alone. Give --beats.\n")
    for minimum in ("-0.1", "1.01", "nan"):
        code, _, err = call("gate", known, "--min-stability", minimum)
        assert (code, err.count("\n"), "`0 <= min-stability <= 1` must hold" in err) == (2, 1, True)


@pytest.mark.parametrize("name", ["average-score", "stability", "plasticity"])
@pytest.mark.parametrize("limit", ["-0.1", "1.01", "90", "nan"])
def test_a_minimum_that_no_metric_can_have_is_refused(call, known: Path, name: str, limit: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call("gate", known, f"--min-{name}", limit)
    said = f"gate: `0 <= min-{name} <= 1` must hold, but got --min-{name} {limit}. Change it.\n"
    assert (code, out, err) == (2, "", said)


def test_the_ends_of_its_range_are_minima(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    assert call("gate", known, "--min-stability", "0")[0] == 0
    assert call("gate", known, "--min-stability", "1")[0] == 1


def test_select_prints_what_chose_it_and_how_to_test_it(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("select", known)
    assert code == 0
    assert out.startswith("trial 2, by average_score on validation, selected 20")
    assert "\naverage score (accuracy) on validation data 0.833 ± 0.010, corrected 0.833\n" in out
    assert f"\nTest it, with fresh seeds: cfsweep confirm {known}\n" in out
    assert "corrected: what validation is expected to be without the luck of the best among 5." in out
    record = analysis.selection(known)
    assert record is not None
    assert record["chosen_among"] == 5
    assert record["corrected_for_the_choice"]["val_stability"] == pytest.approx(0.8)
    assert json.loads((known / "selection.json").read_text())["trial"] == 2
    assert call("select", known, "--rule", "stability_at_least", "--at-least", "0.5")[0] == 2


def test_select_prints_what_was_confirmed(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = Folder(tmp_path)
    for seed in range(3):
        folder.run(0, seed, matrix_for(0.5, 0.8))
        folder.run(1, seed, matrix_for(0.6, 0.9))
        folder.confirm(1, 10_000 + seed, matrix_for(0.5, 0.8 + 0.03 * seed), test_shift=-0.1)
    folder.confirm(1, 10_000, matrix_for(0.5, 0.8), "refit", test_shift=0.1)
    code, out, _ = call("select", folder.write())
    assert code == 0
    assert "validation," in out
    assert "refitted" in out
    cells = "1 0.700 ± 0.000 0.700 0.610 ± 0.010 0.510 ± 0.010 0.700"
    assert cells.split() in [[word for word in line.split() if word != "–"] for line in out.splitlines()]
    assert "Chosen at 0.700, fresh seeds say 0.610 ± 0.010 (3 seeds): 0.090 less.\n" in out
    assert "Test it, with fresh seeds" not in out


def test_seeds_that_are_being_added_are_named(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = half_grown(tmp_path).write()
    said = "Seeds being added, left out until every trial has them: 1, 2."
    for command in ("front", "table", "select"):
        code, out, err = call(command, root)
        assert (code, (out + err).count(said)) == (0, 1)
    assert said in Path(call("report", root)[1].strip()).read_text()


def test_compare(call, known: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = call("compare", known)
    assert code == 0
    row = ["stability", "0.6", "0.8", "+0.2", "–", "+0.2", "–"]
    assert row in [line.split() for line in out.splitlines()]
    assert ["stored_bytes", "192", "320", "+128", "–", "–", "–"] in [line.split() for line in out.splitlines()]
    assert (
        f"first: trial 0 (default) of {known}, taken as named beforehand.\nsecond: trial 2 of {known}, chosen: " in out
    )
    assert "\ncorrected: without what the choice among 5 adds." in out
    code, out, _ = call("compare", known, "--second", "2")
    assert row[:5] in [line.split() for line in out.splitlines()], "named beforehand"
    assert "corrected" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gate", "DIR", "--beats", "naive", "--margin", "abc"), "Invalid value for '--margin'"),
        (("gate", "DIR", "--margins", "0.1"), "No such option"),
        (("gates", "DIR"), "No such command"),
        (("select",), "Missing argument 'DIR'"),
        (("gate", "--champion", "a", "--candidate", "b", "--max-drop", "0"), "loads no models. Run `cfsweep gate`"),
    ],
    ids=lambda found: " ".join(found) if isinstance(found, tuple) else "",
)
def test_a_bad_command_line_is_one_line_and_exit_code_2(call, arguments: tuple[str, ...], said: str) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert "python -m analysis" in err


def test_no_command_at_all_is_told_what_there_is(call) -> None:  # type: ignore[no-untyped-def]
    code, out, err = call()
    assert (code, err, "compare" in out) == (0, "", True)


@pytest.mark.parametrize("command", ["front", "report", "table", "gate", "select", "compare"])
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path: Path, command: str) -> None:  # type: ignore[no-untyped-def]
    more = ["--min-stability", "0.5"] if command == "gate" else []
    for root in (tmp_path / "nowhere", "foo://bar"):
        code, out, err = call(command, root, *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_no_text_names_a_command_that_is_not_on_the_path() -> None:
    """`analysis` is none: its verbs are those of `cfsweep`, or of `python -m analysis`."""
    verbs = "|".join(command.name or "" for command in app.registered_commands)
    no_command = re.compile(rf"(?<!python -m )\banalysis (?:{verbs})\b(?! of)")
    here = Path(__file__).parents[2]
    files = [path for room in ("analysis", "cfsweep", "docs") for path in (here / room).rglob("*.*")]
    texts = {path: path.read_text() for path in [*files, here / "README.md"] if path.suffix in (".py", ".md")}
    assert len(texts) > 100
    assert [str(path) for path, text in texts.items() if no_command.search(text)] == []
    assert no_command.search("Run `analysis select` first.")
    assert not no_command.search("`python -m analysis select`")


def test_an_unknown_command_is_exit_code_2(call) -> None:  # type: ignore[no-untyped-def]
    assert call("fronds")[0] == 2


def test_as_a_module(known: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "table", known], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.splitlines()[0][:8]) == (0, "| trial ")
