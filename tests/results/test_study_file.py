"""What is wrong with a `study.yaml` is one line, before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cfsweep.errors import InputError
from cfsweep.results.reader import read_study
from cfsweep.yaml_text import written

GOOD: dict[str, Any] = {
    "study_id": "a",
    "config": {"seeds": 2, "trials": 3, "objective": {"name": "mixed"}, "space": {"search": {"lr": {}}}},
    "hypers": {"lr": {"kind": "float", "default": 0.1, "searched": True, "low": 1e-5, "high": 1}},
    "references": [{"lr": 0.1}],
    "scores": [{"name": "accuracy", "bounds": [0.0, 1.0]}],
    "majority": [0.5],
    "tasks": [{"name": "t0", "classes": [0, 1], "n_train": 3}],
}


def test_a_good_one_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(written(GOOD))
    assert read_study(tmp_path) == GOOD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda study: study.pop("config"), "`config`: Field required"),
        (lambda study: study["config"].pop("seeds"), "`config.seeds`: Field required"),
        (lambda study: study["config"].update(trials="3"), "`config.trials`: Input should be a valid integer"),
        (lambda study: study["config"].update(trials=10**20), "`config.trials`: Input should be less than or equal to"),
        (lambda study: study["config"].update(objective=[]), "`config.objective`: "),
        (lambda study: study.update(study_id=7), "`study_id`: Input should be a valid string"),
        (lambda study: study.update(tasks=[["t0"]]), "`tasks.0`: "),
        (lambda study: study.update(hypers={"lr": 3}), "`hypers.lr`: "),
        (lambda study: study["hypers"].update(lr={}), "`hypers.lr.kind`: Field required"),
        (lambda study: study.update(hypers={}), "`hypers` says nothing of `lr`, which is searched"),
        (lambda study: study.pop("hypers"), "`hypers` says nothing of `lr`, which is searched"),
        (lambda study: study["hypers"]["lr"].update(low="x"), "`hypers.lr.low`: Input should be a valid number"),
        (lambda study: study.update(scores=[]), "`scores`: List should have at least 1 item"),
        (lambda study: study["scores"][0].update(bounds=[1, 0]), "`scores.0.bounds`: the lower bound comes first"),
        (lambda study: study["scores"][0].update(bounds=[0, float("nan")]), "the lower bound comes first"),
        (lambda study: study.update(majority=[0.5, 0.5]), "`majority` has 2 shares, but there are 1 tasks"),
        (lambda study: study.update(defaults=[{"lr": 1}]), "`defaults`: Input should be a valid dictionary"),
        (lambda study: study.update(data_sha256=[1]), "`data_sha256`: "),
        (lambda study: study.update(confirms={}), "`confirms.study_id`: Field required"),
    ],
)
def test_a_damaged_one_is_one_line(change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path) -> None:
    study = yaml.safe_load(written(GOOD))
    change(study)
    (tmp_path / "study.yaml").write_bytes(written(study))
    with pytest.raises(InputError) as caught:
        read_study(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/study.yaml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_of_a_gigabyte_is_not_held_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "study.yaml").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match=f"it has {2**30} bytes, and"):
        read_study(tmp_path)
