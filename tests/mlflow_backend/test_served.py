"""A bundle that MLflow has loaded answers as `cfsweep.load` does, and the way back is the bundle itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest

import cfsweep
from cfsweep.bundle import continue_, read_manifest
from cfsweep.bundle.manifest import NAME, sha256
from cfsweep.config import Scenario
from cfsweep.errors import InputError
from tests.bundle.test_continued import bundle_of, write_table
from tests.conftest import Run


@pytest.fixture
def at_store(store: str) -> Iterator[str]:
    """MLflow looks at the store by itself."""
    mlflow.set_tracking_uri(store)
    yield store
    mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("at_store")
@pytest.mark.parametrize("scenario", ["domain-il", "class-il", "task-il"])
def test_the_champion_gives_the_labels_that_the_bundle_gives(scenario: Scenario, folder: Path) -> None:
    cfsweep.log(folder / scenario, f"served-{scenario}", alias="champion")
    served = mlflow.pyfunc.load_model(f"models:/served-{scenario}@champion")
    expected = cfsweep.load(folder / scenario)
    seen = set()
    for task in range(2):
        with np.load(folder / f"tasks-{scenario}" / f"task-{task}.npz") as arrays:
            x, y = arrays["x_test"], arrays["y_test"]
        found = served.predict(x, params={"task": task})
        assert found == expected.predict(x, task)
        assert found == served.predict(x.astype(np.float64), params={"task": task})
        if scenario == "task-il":
            assert set(found) == set(y.tolist()), "the user's labels"
            with pytest.raises(InputError, match=r"told of which task the examples are: 0 \(`task-0`\), 1 \("):
                served.predict(x)
        else:
            assert served.predict(x) == expected.predict(x)
        seen |= set(found)
    assert seen == ({0, 1} if scenario == "domain-il" else {0, 1, 2, 3})


@pytest.mark.usefixtures("at_store", "no_program")
def test_a_table_goes_by_the_names_of_its_columns(tmp_path: Path) -> None:
    for task in range(2):
        write_table(tmp_path / "tasks" / f"{task}.parquet", ["a", "b", "c"], task)
    bundle_of(tmp_path / "tasks", tmp_path / "bundle", "replay", epochs=9)
    cfsweep.log(tmp_path / "bundle", "table", alias="champion")
    served = mlflow.pyfunc.load_model("models:/table@champion")
    table = pq.read_table(tmp_path / "tasks" / "1.parquet").to_pandas()
    x = table[["a", "b", "c"]].to_numpy()
    expected = cfsweep.load(tmp_path / "bundle").predict(x)
    assert len(set(expected)) == 2
    assert served.predict(table[["c", "y", "a", "b"]]) == served.predict(x) == expected
    assert expected != cfsweep.load(tmp_path / "bundle").predict(table[["c", "a", "b"]].to_numpy()), "the order matters"
    with pytest.raises(InputError, match=r"must have the columns of the data, but lacks b, c\. Add them\."):
        served.predict(table[["a"]])


@pytest.mark.usefixtures("at_store")
def test_the_python_of_the_page_runs(
    folder: Path, project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (project_root / "docs" / "bundles.md").read_text().partition("## In MLflow")[2]
    code = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    cfsweep.log(folder / "task-il", "credit", alias="champion")
    known: dict[str, Any] = {"x": np.zeros((2, 10), np.float32)}
    exec(code, known)
    assert cfsweep.load(known["champion"]).predict(known["x"], 0) == known["model"].predict(known["x"], {"task": 0})


@pytest.mark.usefixtures("at_store", "no_program")
def test_the_way_back_is_a_bundle_that_can_be_gone_on_with_and_judged(folder: Path, tmp_path: Path, run: Run) -> None:
    cfsweep.log(folder / "domain-il", "back", alias="champion")
    back = Path(
        mlflow.artifacts.download_artifacts("models:/back@champion/artifacts/bundle", dst_path=tmp_path / "mlflow")
    )
    assert read_manifest(back) == read_manifest(folder / "domain-il")
    assert sorted(path.name for path in back.iterdir()) == sorted(
        path.name for path in (folder / "domain-il").iterdir()
    )
    about = continue_(back, folder / "tasks-domain-il" / "task-2.npz", {}, tmp_path / "next")
    assert about.continues == sha256(folder / "domain-il" / NAME)
    judged = ("--stream", folder / "tasks-domain-il", "--max-drop", "0.9")
    code, said, _ = run("gate", "--champion", back, "--candidate", tmp_path / "next", *judged)
    assert (code, said.count("new")) == (0, 2)
    assert "The candidate passes: none of 2 earlier tasks fell" in said
    assert cfsweep.log(tmp_path / "next", "back", alias="champion").version == 2
