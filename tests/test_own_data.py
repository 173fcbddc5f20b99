"""docs/own-data.md is followed as it is written, from the table to the gate."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cfsweep.training.streams import TableSettings
from tests.conftest import Run

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "own-data.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.DOTALL)


def said_in(block: str, run: Run) -> list[str]:
    """What each `cfsweep` of a block of commands prints; whatever Python there is runs."""
    found = []
    for line in block.splitlines():
        program, *rest = shlex.split(line)
        if program == "cfsweep":
            code, out, complaints = run(*rest)
            assert (code, complaints) == (0, ""), line
            found.append(out)
        elif rest[0] == "-m":
            runpy.run_module(rest[1], run_name="__main__")
        else:
            exec(rest[1], {})
    return found


def test_every_argument_of_a_table_has_its_row() -> None:
    rows = " ".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert all(f"`{name}`" in rows for name in TableSettings.model_fields)


def test_the_page_is_followed(run: Run, tmp_path: Path) -> None:
    (_, begun), (_, answered), (_, gated), (_, transformed) = BLOCKS
    assert (tmp_path / "months.csv").exists() is False
    swept, *_, exported, continued, predicted = said_in(begun, run)
    assert "the latest 20 % of each became that" in swept
    assert "column `plan`: `trial` not in the training rows of the first task" in swept
    assert "in models/06" in exported
    assert "task `2024-07`: accuracy" in continued
    table = pd.read_csv("months.csv")
    assert set(table["churned"]) == {"left", "stayed"}
    assert 0.07 < (table["churned"] == "left").mean() < 0.09
    assert table[["age", "plan"]].isna().any().all()
    content: dict[str, Any] = {}
    exec(answered, content)
    model = content["model"]
    said = model.predict("month-07.csv")
    assert set(said) <= {"left", "stayed"}
    written = pd.read_csv("answers.csv")
    assert predicted == f"{len(written)} rows answered; in answers.csv\n"
    assert written["prediction"].tolist() == said
    assert list(written)[1:] == [f"probability={label}" for label in model.probabilities("month-07.csv")]
    assert len(said) == len(pd.read_csv("month-07.csv"))
    assert said == model.predict(pd.read_csv("month-07.csv"))
    exec(transformed, content)
    outputs = content["outputs"]
    assert [model.about.tasks[-1].labels[k] for k in outputs.argmax(1).tolist()] == said
    assert torch.allclose(outputs, model.outputs("month-07.csv"), atol=1e-5)
    (verdict,) = said_in(gated, run)
    assert "2024-07" in verdict
    assert "The candidate passes" in verdict


def test_a_month_that_came_is_told_by_resume(run: Run, tmp_path: Path) -> None:
    runpy.run_module("examples.table", run_name="__main__")
    first = ("run", "smoke", "--stream", "months.csv", "--arg", "target=churned", "--arg", "task=month")
    rest = ("--scenario", "domain-il", "--trials", "1", "--workers", "0", "--out", "study")
    assert run(*first, *rest)[0] == 0
    both = pd.concat([pd.read_csv("months.csv"), pd.read_csv("month-07.csv")])
    both.to_csv("months.csv", index=False)
    offer = f"`cfsweep continue BUNDLE --task {tmp_path}/months.csv --to NEW`"
    code, out, _ = run("resume", "study", "--workers", "0")
    assert code == 0
    assert "months.csv with task `2024-07` came after the study began" in out
    assert offer in out
    code, _, complaints = run("resume", "study", "--workers", "0", "--trials", "+1")
    assert code == 2
    assert offer in complaints


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arg", "target"], "--arg target: `key=value` is needed, such as `--arg target=label`"),
        ([], "a table must say what its columns are: add `--arg target=COLUMN` and `--arg task=COLUMN`"),
        (["--arg", "task=month"], "a table must say what its columns are"),
        (["--arg", "target=churned", "--arg", "task=mnth"], "unknown column `mnth`. Known, closest first: month"),
    ],
)
def test_what_is_missing_is_said_in_one_line(run: Run, arguments: list[str], said: str) -> None:
    runpy.run_module("examples.table", run_name="__main__")
    code, out, complaints = run("run", "smoke", "--stream", "months.csv", *arguments, "--dry-run")
    assert (code, out, complaints.count("\n")) == (2, "", 1)
    assert said in complaints


def test_python_takes_the_same_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cfsweep

    monkeypatch.chdir(tmp_path)
    runpy.run_module("examples.table", run_name="__main__")
    args = {"target": "churned", "task": "month"}
    trained = cfsweep.train(Path("months.csv"), args=args, scenario="domain-il", settings={"epochs": 1})
    assert np.isfinite(trained.validation).all()
    model = trained.model()
    assert set(model.predict(pd.read_csv("month-07.csv"))) <= {"left", "stayed"}
