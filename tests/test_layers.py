"""Which packages an import loads, seen from a fresh process.

The arrows between our own modules are import-linter's contracts, in pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "ray", "optuna", "pandas"}


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """The top-level packages that `statement` adds to a fresh interpreter."""
    program = f"import sys; before = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("cfsweep", HEAVY | {"numpy", "pydantic"}),
        ("cfsweep.cli", HEAVY),
        ("cfsweep.errors", HEAVY | {"numpy", "pydantic"}),
        ("cfsweep.hypers", HEAVY | {"numpy", "pydantic"}),
        ("cfsweep.config", HEAVY | {"numpy"}),
        ("cfsweep.results.reader", HEAVY),
        ("cfsweep.results.writer", HEAVY),
        ("cfsweep.training", {"ray", "optuna"}),
        ("analysis", {"torch", "torchvision", "ray", "optuna"}),
        ("search_spaces", HEAVY | {"numpy", "pydantic"}),
    ],
)
def test_an_import_leaves_the_heavy_packages_alone(module: str, never: set[str], project_root: Path) -> None:
    loaded = loaded_by(f"import {module}", project_root)
    assert module.partition(".")[0] in loaded
    assert not loaded & never


@pytest.mark.parametrize(
    ("package", "never"),
    [("cfsweep.training", {"ray", "optuna"}), ("analysis", {"torch", "torchvision", "ray", "optuna"})],
)
def test_so_do_all_the_modules_below(package: str, never: set[str], project_root: Path) -> None:
    walk = (
        f"import importlib, pkgutil, {package} as package\n"
        "for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    found.name.endswith('__main__') or importlib.import_module(found.name)"
    )
    assert not loaded_by(walk, project_root) & never


def test_metrics_need_numpy_alone(project_root: Path) -> None:
    with_numpy = loaded_by("import numpy, numpy.typing", project_root)
    extra = loaded_by("import cfsweep.metrics", project_root) - with_numpy
    assert extra - set(sys.stdlib_module_names) == {"cfsweep"}


def test_the_probe_sees_what_is_loaded(project_root: Path) -> None:
    assert "optuna" in loaded_by("import optuna", project_root)
