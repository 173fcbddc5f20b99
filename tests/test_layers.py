"""Which packages an import loads, seen from a fresh process.

The arrows between our own modules are import-linter's contracts, in pyproject.toml.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "ray", "optuna", "pandas", "mlflow"}
ROOMS = ("cfsweep.sweeping.search", "cfsweep.sweeping.ray_backend", "cfsweep.mlflow_backend")

# Imported one after another in one process, light ones first: what a step may not load was not loaded before it.
STEPS: dict[str, set[str]] = {
    "cfsweep": HEAVY | {"numpy", "pydantic", "typer"},
    "cfsweep.errors": HEAVY | {"numpy", "pydantic", "typer"},
    "cfsweep.hypers": HEAVY | {"numpy", "pydantic", "typer"},
    "search_spaces": HEAVY | {"numpy", "pydantic", "typer"},
    "cfsweep.cli": HEAVY | {"numpy", "pydantic"},
    "cfsweep.identity": HEAVY | {"numpy"},
    "cfsweep.config": HEAVY | {"numpy"},
    "cfsweep.results.reader": HEAVY,
    "cfsweep.results.writer": HEAVY,
    "all of cfsweep but the rooms": {"ray", "optuna", "pandas", "mlflow", "onnx", "onnxruntime", "onnxscript"},
    "all of cfsweep.sweeping.search": {"ray"},
}
LOAD = """
import importlib, json, pkgutil, sys
before, found = set(sys.modules), {}
for step in STEPS:
    name = step.removeprefix("all of ").removesuffix(" but the rooms")
    package = importlib.import_module(name)
    if step != name:
        for module in pkgutil.walk_packages(package.__path__, name + "."):
            if not module.name.endswith("__main__") and not (step.endswith("rooms") and module.name.startswith(ROOMS)):
                importlib.import_module(module.name)
    found[step] = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
print(json.dumps(found))
"""


def loaded_by(steps: list[str], cwd: Path) -> dict[str, set[str]]:
    """The top-level packages that a fresh interpreter has loaded after each step."""
    program = f"STEPS, ROOMS = {steps!r}, {ROOMS!r}\n{LOAD}"
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {step: set(names) for step, names in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def loaded(project_root: Path) -> dict[str, set[str]]:
    return loaded_by(list(STEPS), project_root)


@pytest.mark.parametrize("step", STEPS)
def test_an_import_leaves_the_heavy_packages_alone(step: str, loaded: dict[str, set[str]]) -> None:
    assert "cfsweep" in loaded[step]
    assert not loaded[step] & STEPS[step]


def test_the_probe_sees_what_is_loaded(loaded: dict[str, set[str]]) -> None:
    assert not loaded["cfsweep.config"] & {"torch", "optuna"}
    assert "torch" in loaded["all of cfsweep but the rooms"]
    assert "optuna" in loaded["all of cfsweep.sweeping.search"]


def test_analysis_needs_neither_torch_nor_ray_nor_optuna(project_root: Path) -> None:
    (names,) = loaded_by(["all of analysis"], project_root).values()
    assert "analysis" in names
    assert not names & {"torch", "torchvision", "ray", "optuna", "mlflow"}


def test_metrics_need_numpy_alone(project_root: Path) -> None:
    found = loaded_by(["numpy.typing", "cfsweep.metrics"], project_root)
    extra = found["cfsweep.metrics"] - found["numpy.typing"]
    assert extra - set(sys.stdlib_module_names) == {"cfsweep"}
