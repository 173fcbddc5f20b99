"""A model that is no better on some task than the constant answer is told so, wherever it is written or compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cfsweep.bundle import Manifest, load, write
from cfsweep.config import StreamConfig
from cfsweep.testing.packs import MLP, finish, values_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream
from tests.bundle.test_continued import ABOUT
from tests.bundle.test_table import BY_MONTH, study_of
from tests.conftest import Run
from tests.training.streams.tables import as_csv, months

pytestmark = pytest.mark.usefixtures("no_program")


def rare(frame: pd.DataFrame, *found_out: str) -> pd.DataFrame:
    """With a fifth of leavers that nothing tells; in the months that are `found_out` income does."""
    left = np.arange(len(frame)) % 5 == 0
    is_told = frame["month"].isin(found_out).to_numpy()
    return frame.assign(
        churned=np.where(left, "left", "stayed"),
        age=40.0,
        income=np.where(is_told & left, 1e6, 1e3) + np.arange(len(frame)) % 7,
        plan="basic",
        member=True,
        since=pd.Timestamp(2020, 1, 1),
        day=pd.Timestamp(2024, 1, 1),
    )


def bundle_of(path: Path, to: Path) -> Manifest:
    config = StreamConfig(name=str(path), scenario="domain-il", args=BY_MONTH, validation_frac=0.2)
    run = RunSpec(4, 1, values_of(("replay",), epochs=20, lr=0.01, replay_ratio=0.5, replay_buffer=100))
    spec = PackSpec(MLP, "domain-il", ("replay",), (run,), parts=("validation", "test"), keep_models=True)
    return write(finish(Pack(spec, load_stream(config))), study_of(config), ABOUT, to)


def test_the_card_says_it_and_the_constant_is_that_of_a_loop(tmp_path: Path) -> None:
    frame = rare(months(0, 2), "2024-01")
    about = bundle_of(as_csv(frame, tmp_path / "t.csv"), tmp_path / "bundle")
    stream = load_stream(about.stream_config)
    y = stream.y.tolist()
    trained = [y[k] for task in stream.tasks for k in task.train.tolist()]
    most = max((0, 1), key=trained.count)
    for part in ("validation", "test"):
        for task, constant in zip(stream.tasks, about.constant[part], strict=True):
            answers = [y[k] == most for k in task.parts[part].tolist()]
            assert constant == sum(answers) / len(answers)
        first, second = about.scores[part][-1]
        assert first is not None
        assert first > about.constant[part][0] + 0.1
        assert second == about.constant[part][1]
    told = "At the end it is no better than the constant answer (majority) on 1 of 2 tasks: `2024-02` ("
    assert list(about.behind_constant) == ["validation", "test"]
    assert all(line.startswith(told) for line in about.behind_constant.values())
    assert (tmp_path / "bundle" / "MODEL_CARD.md").read_text().count(told) == 2


def test_the_next_task_and_the_gate_say_it(tmp_path: Path, run: Run) -> None:
    every = rare(months(0, 4), "2024-01", "2024-02", "2024-04")
    first = every[every["month"] < "2024-03"]
    about = bundle_of(as_csv(first, tmp_path / "first.csv"), tmp_path / "bundle")
    assert about.behind_constant == {}
    for month, told in (("2024-04", False), ("2024-03", True)):
        new = as_csv(every[every["month"] == month], tmp_path / f"{month}.csv")
        code, out, err = run("continue", tmp_path / "bundle", "--task", new, "--to", month)
        assert (code, err) == (0, "")
        line = f"At the end it is no better than the constant answer (majority) on 1 of 1 task: `{month}` ("
        assert (line in out) == told
        old, score = load(month).about.constant["test"][:-1], load(month).about.scores["test"][-1][-1]
        assert old == (None, None), "their examples are not at hand"
        assert score is not None
    whole = as_csv(every[every["month"] < "2024-04"], tmp_path / "whole.csv")
    gate = ("gate", "--champion", tmp_path / "bundle", "--candidate", "2024-03", "--max-drop", "0.9", "--data", whole)
    code, out, err = run(*gate, "--json", "gate.json")
    assert (code, err) == (0, "")
    line = "At the end the candidate is no better than the constant answer (majority) on 1 of 3 tasks: `2024-03` ("
    assert line in out
    tasks = json.loads(Path("gate.json").read_text())["tasks"]
    assert tasks[2]["candidate"] == tasks[2]["constant"]
    assert tasks[0]["candidate"] > tasks[0]["constant"]
