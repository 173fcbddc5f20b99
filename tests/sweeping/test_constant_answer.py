"""The case of the rare class: months of a table with 8 % positives, and a network that never says yes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import analysis
from analysis.constant_answer import all_beaten_by_majority
from cfsweep.results.reader import read_table
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.status import status
from cfsweep.sweeping.notes import imbalance_note
from cfsweep.testing import small_stream
from tests.conftest import Run

SPACE = """
network: {name: mlp, args: {hidden: [4]}}
ingredients: [ewc]
fixed: {epochs: 2, batch_size: 64, lr: 0.01}
search:
  ewc_lambda: {low: 1.0, high: 100.0, log: true}
"""
BLIND = (
    "asks `april`, `march`, `may`: 92 % of the validation examples of each are of one class, so accuracy "
    "hardly sees the others. Look at what a trial has beyond `majority`, the constant answer."
)


@pytest.fixture
def months(tmp_path: Path) -> Path:
    """Three tasks of 1,250 training and 250 test rows, of which 8 % are positives; no feature tells them apart."""
    rng, folder = np.random.default_rng(0), tmp_path / "months"
    folder.mkdir()
    for name in ("march", "april", "may"):
        parts = {}
        for part, n in (("train", 1250), ("test", 250)):
            parts[f"x_{part}"] = rng.normal(size=(n, 3)).astype(np.float32)
            parts[f"y_{part}"] = (np.arange(n) < 0.08 * n).astype(np.int64) + 1  # classes 1 and 2
        np.savez(folder / f"{name}.npz", **parts)
    return folder


def test_whoever_answers_no_is_told_and_refused(run: Run, months: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    study = ("run", "space.yaml", "--stream", months, "--scenario", "domain-il", "--trials", "3", "--seeds", "2")
    code, out, complaints = run(*study, "--dry-run")
    assert (code, complaints) == (0, "")
    assert "march: 1125 train, 125 validation, 250 test" in out
    assert out.count("by class, train + validation: 1: 1035 + 115, 2: 90 + 10") == 3
    assert "majority, the constant answer: ends at 0.920" in out
    assert out.endswith(f"note: t{BLIND}\n")

    code, out, complaints = run(*study, "--workers", "0", "--out", "study")
    assert (code, complaints) == (0, "")
    assert f"note: t{BLIND}\n" in out
    assert status("study").complete
    rows = read_table("study", "runs").to_pylist()
    assert {row["trial"] for row in rows} == {MAJORITY_TRIAL, -2, -1, 0, 1, 2}
    trials = analysis.trials(analysis.load("study"))
    assert all_beaten_by_majority(trials) == [0, 1, 2]
    assert yaml.safe_load(Path("study/study.yaml").read_text())["majority"] == [0.92] * 3

    code, out, _ = run("front", "study")
    assert code == 0
    assert "No trial beats the constant answer (majority, 0.920 in average score): " in out
    assert f"T{BLIND}" in out
    code, out, _ = run("select", "study")
    assert code == 0
    refused = "does not beat the constant answer (majority) in average_score (0.9200 against 0.9200)."
    assert refused in out
    code, out, complaints = run("gate", "study", "--min-average-score", "0.9")
    assert (code, out) == (1, "")
    assert f"fails: {refused}" in complaints


def test_nothing_is_said_of_classes_that_are_alike() -> None:
    assert imbalance_note(small_stream()) is None
