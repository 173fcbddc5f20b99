"""What tests of MLflow may ask for: one local store for all of them, each with a model of its own name, and bundles."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it must stand before MLflow is imported

from cfsweep.bundle import load
from cfsweep.config import Scenario
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.conftest import without_program

SCENARIOS: tuple[Scenario, ...] = ("domain-il", "class-il", "task-il")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a database that takes seconds to set up, with its files beside it."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what SQLAlchemy has renamed, on first use
            mlflow.MlflowClient(uri).search_experiments()
        yield uri


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By scenario, `tasks-...` are three tasks, and `SCENARIO` a bundle that has learned two of them, whose examples
    are in `two-...`; `untrained` is one that has learned nothing in domain-il."""
    root = tmp_path_factory.mktemp("bundles")
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        for scenario in SCENARIOS:
            tasks, two = write_tasks(root / f"tasks-{scenario}", 3, scenario != "domain-il"), root / f"two-{scenario}"
            two.mkdir()
            for number in range(2):
                (two / f"task-{number}.npz").write_bytes((tasks / f"task-{number}.npz").read_bytes())
            bundle_of(two, root / scenario, "replay", scenario=scenario, epochs=9)
        bundle_of(root / "two-domain-il", root / "untrained", "replay", lr=1e-9)
    assert load(root / "domain-il").about.average["test"] > load(root / "untrained").about.average["test"] + 0.1
    return root
