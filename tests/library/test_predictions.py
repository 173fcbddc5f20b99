"""Rows of a table answered into a file: predictions, and probabilities by label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfsweep
from cfsweep.bundle import write
from cfsweep.config import Scenario, StreamConfig
from cfsweep.errors import InputError
from tests.bundle.test_continued import ABOUT
from tests.bundle.test_table import BY_MONTH, bundle_of, config_of, study_of, trained
from tests.conftest import Run
from tests.training.streams.tables import as_csv, as_parquet, months

pytestmark = pytest.mark.usefixtures("no_program")


def by_hand(outputs: Any) -> Any:
    """The softmax of outputs (n, k)."""
    raised = np.exp(outputs - outputs.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize(("scenario", "task"), [("domain-il", None), ("class-il", None), ("task-il", "2024-02")])
def test_what_the_file_holds(tmp_path: Path, run: Run, scenario: Scenario, task: str | None) -> None:
    """Labels of two months, of which the second has a further one."""
    frame = months(0, 2)
    if scenario != "domain-il":
        frame["churned"] = np.where((frame["month"] == "2024-02") & (frame["age"] > 45), "paused", frame["churned"])
    bundle_of(as_csv(frame, tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH, scenario)
    model = cfsweep.load(tmp_path / "bundle")
    new = as_parquet(months(2, 1).drop(columns=["churned", "month"]), tmp_path / "new.parquet")
    told = () if task is None else ("--task", task)
    code, out, err = run("predict", tmp_path / "bundle", new, "--to", "deep/answers.csv", *told)
    n = len(months(2, 1))
    assert (code, out, err) == (0, f"{n} rows answered; in deep/answers.csv\n", "")
    found = pd.read_csv("deep/answers.csv")
    number = None if task is None else 1
    assert found["prediction"].tolist() == model.predict(new, number)
    labels = ["left", "stayed"] if scenario == "domain-il" else ["left", "paused", "stayed"]
    assert list(found) == ["prediction", *(f"probability={label}" for label in labels)]
    np.testing.assert_allclose(found.iloc[:, 1:], by_hand(model.outputs(new, number).numpy()), atol=1e-6)
    assert [labels[k] for k in found.iloc[:, 1:].to_numpy().argmax(1)] == found["prediction"].tolist()
    other = cfsweep.predict(tmp_path / "bundle", new, "a.parquet", task=task)
    pd.testing.assert_frame_equal(found, other, rtol=1e-5, check_dtype=False)
    assert len(pd.read_parquet("a.parquet")) == n


def test_amounts_have_no_probabilities(tmp_path: Path) -> None:
    args = {"target": "income", "task": "month", "drop": ["churned"]}
    config = config_of(as_csv(months(0, 2), tmp_path / "t.csv"), args).model_copy(update={"target": "regression"})
    write(trained(config), study_of(config), ABOUT, tmp_path / "bundle")
    rows = months(1, 1).drop(columns="income")
    found = cfsweep.predict(tmp_path / "bundle", as_csv(rows, tmp_path / "new.csv"), tmp_path / "answers.csv")
    assert list(found) == ["prediction"]
    model = cfsweep.load(tmp_path / "bundle")
    assert found["prediction"].tolist() == model.predict(rows)
    with pytest.raises(InputError, match=r"^model: the answers of `regression` have no probabilities\."):
        model.probabilities(rows)


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, run: Run) -> None:
    frame = months(0, 2)
    frame.loc[frame["month"] == "2024-02", "churned"] = np.resize(
        ["left", "paused"], (frame["month"] == "2024-02").sum()
    )
    bundle_of(as_csv(frame, tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH, "task-il")
    new = as_csv(months(2, 1).assign(age="old"), tmp_path / "new.csv")
    (tmp_path / "there.csv").write_text("mine")

    def said(*words: str | Path) -> str:
        code, out, complaint = run("predict", *words)
        assert (code, out, complaint.count("\n")) == (2, "", 1)
        assert not Path("answers.csv").exists()
        return complaint

    bundle, to = tmp_path / "bundle", ("--to", "answers.csv")
    assert said(bundle, new, *to, "--task", "2024-01") == (
        f"cfsweep: table {new}, column `age`, row 1: numbers are needed, but got `old`. Mend it\n"
    )
    assert "of which task the examples are: 0 (`2024-01`), 1 (`2024-02`)" in said(bundle, tmp_path / "t.csv", *to)
    assert "--task: unknown task `May`. Known, closest first: 2024-0" in said(bundle, new, *to, "--task", "May")
    assert "--to there.csv: it exists. Choose another file" in said(bundle, new, "--to", "there.csv")
    assert "--to answers.xlsx: a .csv or .parquet file is written" in said(bundle, new, "--to", "answers.xlsx")
    assert "no table is there" in said(bundle, "nowhere.csv", *to, "--task", "2024-01")
    (tmp_path / "tasks").mkdir()
    x = np.random.default_rng(0).normal(size=(40, 4))
    for number in range(2):
        np.savez(tmp_path / "tasks" / f"{number}.npz", x_train=x + number, y_train=np.resize([0, 1], 40))
    folder = StreamConfig(name=str(tmp_path / "tasks"), scenario="domain-il", validation_frac=0.2)
    write(trained(folder), study_of(folder), ABOUT, tmp_path / "other")
    assert "it was trained neither on a table nor on images. Ask it" in said(tmp_path / "other", new, *to)
    assert (tmp_path / "there.csv").read_text() == "mine"
