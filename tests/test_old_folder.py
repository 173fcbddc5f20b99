"""A results folder of an earlier version, left by a driver that was killed: it is read, reported and resumed.

`fixtures/old_folder/study` was written by revision 36b1147, with two packs on their way; beside it lie the accuracies
that this revision gave the runs of those packs when it went on.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from tests.conftest import Run

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
    assert analysis.score_matrix(folder, trial=0).shape == (6, 5)


def test_it_is_reported(folder: Path) -> None:
    page = analysis.report(folder).read_text()
    assert "cfcce349289c" in page
    assert analysis.select(folder)["trial"] in (0, 1)


def cells(folder: Path, table: str = "accuracy") -> dict[str, list[float]]:
    """The accuracies of each `trial,seed`, row after row."""
    found: dict[str, list[float]] = {}
    order = ("trial", "seed", "after_task", "eval_task")
    for row in sorted(read_table(folder, table).to_pylist(), key=lambda row: [row[name] for name in order]):
        found.setdefault(f"{row['trial']},{row['seed']}", []).append(row["accuracy"])
    return found


def test_it_is_resumed_to_its_end(folder: Path, run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*/*.parquet")}
    config: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text())["config"]
    assert sorted(path.name for path in (folder / "checkpoints").glob("pack*.pt")) == ["pack000003.pt", "pack000004.pt"]
    code, printed, complaints = run("resume", folder, "--workers", "0")
    assert (code, complaints) == (0, "")
    assert "14/14 trials: " in printed

    now = status(folder)
    assert (now.study_id, now.complete, now.failed) == ("cfcce349289c", True, 0)
    runs = read_table(folder, "runs").to_pylist()
    assert sorted((row["trial"], row["seed"]) for row in runs) == [(t, s) for t in range(-2, 14) for s in (0, 1)]
    assert {row["study_id"] for row in runs} == {"cfcce349289c"}
    expected = json.loads((OLD / "accuracies_of_the_packs_on_their_way.json").read_text())
    assert set(expected) == {"2,0", "2,1", "3,0", "3,1"}
    found = cells(folder)
    assert {key: found[key] for key in expected} == expected
    assert set(cells(folder, "test")) == {f"{trial},{seed}" for trial in (-2, -1, 0, 1) for seed in (0, 1)}, "of before"
    assert {path: path.read_bytes() for path in before} == before
    assert list((folder / "checkpoints").iterdir()) == []

    page = analysis.report(folder).read_text()
    assert "cfcce349289c" in page
    assert analysis.select(folder)["trial"] in range(14)

    # The same settings, given anew, are this study; the names of today are what it is written in from now on.
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(config["space"]))
    rest = {key: config[key] for key in ("stream", "objective", "seeds", "curve_points_per_task", "pack_runs")}
    sets = [f"--set={key}={json.dumps(value)}" for key, value in rest.items()]
    code, printed, complaints = run("run", "space.yaml", *sets, "--workers", "0", "--trials", "14", "--out", folder)
    assert (code, complaints) == (0, "")
    assert "study cfcce349289c in " in printed
    assert "the study is complete: 14 trials ended" in printed
    written = yaml.safe_load((folder / "study.yaml").read_text())
    assert (written["study_id"], written["config"]["identity_version"]) == ("cfcce349289c", 0)
    assert written["config"]["stop_trials"] is True
    assert "early_stopping" not in written["config"]


def test_it_is_confirmed(folder: Path, run: Run) -> None:
    """Its seeds were tested then; fresh ones take their place."""
    assert f"Test it, with fresh seeds: cfsweep confirm {folder}\n" in (said := run("select", folder)[1])
    assert "fresh seeds say" not in said
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for more in ((), ("--trials", "0,1"), ("--refit",)):
        code, printed, complaints = run("confirm", folder, "--workers", "0", "--seeds", "1", *more)
        assert (code, complaints) == (0, "")
        assert "fresh seeds say" in printed
    assert {path: path.read_bytes() for path in before} == before
    runs = read_table(folder / "confirmed", "runs").to_pylist()
    assert {(row["trial"], row["seed"]) for row in runs} == {(trial, 10_000) for trial in (-1000, -2, -1, 0, 1)}
    swept = {row["trial"]: row for row in read_table(folder, "runs").to_pylist()}
    for row in runs:
        if row["trial"] >= 0:
            for name in (name for name in swept[0] if name.startswith("hp_")):
                assert row[name] in (swept[row["trial"]][name], None), name
    found = analysis.confirmation(folder)
    assert all(one.test is not None and one.test.n == 1 for one in found)
