"""Whatever is imported is asked for in pyproject.toml: that another package happens to bring it is no promise."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOMS = ("cfsweep", "analysis", "search_spaces")
CALLED = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "mlflow": "mlflow-skinny",
}  # in the index; else as imported
PART_OF = {"pydantic_core": "pydantic", "onnx_ir": "onnxscript"}  # pinned to each other by their makers


def imported(root: Path) -> set[str]:
    """The names of the packages that the code of a room imports, anywhere in it."""
    found: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - set(ROOMS)


def asked_for(project: dict[str, object]) -> set[str]:
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    listed = [*project["dependencies"], *extras["datasets"], *extras["onnx"], *extras["mlflow"]]  # type: ignore[misc]
    return {re.split(r"[\[<>=! ]", entry)[0].lower() for entry in listed}


def test_every_import_is_a_dependency(project_root: Path) -> None:
    names = set[str]().union(*(imported(project_root / room) for room in ROOMS))
    assert {"torch", "safetensors", "scipy", "yaml"} <= names
    wanted = {PART_OF.get(name, CALLED.get(name, name)) for name in names}
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    assert wanted - asked_for(project) == set()
