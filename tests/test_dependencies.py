"""Whatever is imported is asked for in pyproject.toml: that another package happens to bring it is no promise."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOMS = ("cfsweep", "analysis", "search_spaces")
# The first version without it, and the advisory: what is known of what is pinned, to 2026-11-27. `make audit` asks for
# all that is published, where its service can be reached; this list is held on every machine.
MENDED = {
    "cryptography": ("44.0.1", "CVE-2024-12797"),
    "filelock": ("3.20.1", "CVE-2025-68146"),
    "fonttools": ("4.60.2", "CVE-2025-66034"),
    "gitpython": ("3.1.41", "CVE-2024-22190"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "idna": ("3.7", "CVE-2024-3651"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "mako": ("1.2.2", "CVE-2022-40023"),
    "onnx": ("1.17.0", "CVE-2024-7776"),
    "pillow": ("11.3.0", "CVE-2025-48379"),
    "protobuf": ("6.31.1", "CVE-2025-4565"),
    "pyarrow": ("14.0.1", "CVE-2023-47248"),
    "pyyaml": ("5.4", "CVE-2020-14343"),
    "ray": ("2.52.0", "CVE-2025-62593"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206"),
    "setuptools": ("78.1.1", "CVE-2025-47273"),
    "sqlparse": ("0.5.0", "CVE-2024-4340"),
    "starlette": ("0.49.1", "CVE-2025-62727"),
    "torch": ("2.6.0", "CVE-2025-32434"),
    "tqdm": ("4.66.3", "CVE-2024-34062"),
    "urllib3": ("2.6.0", "CVE-2025-66418"),
    "zipp": ("3.19.1", "CVE-2024-5569"),
}
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


def test_no_version_with_a_known_hole_is_pinned_or_asked_for(project_root: Path) -> None:
    """Of what is asked for, the least version: a user's environment may hold that one."""
    told = tomllib.loads((project_root / "pyproject.toml").read_text())
    project = told["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    asked = [*project["dependencies"], *extras, *told["build-system"]["requires"]]
    pinned = [line for line in (project_root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    seen = set()
    for requirement in map(Requirement, [*asked, *pinned]):
        name = canonicalize_name(requirement.name)
        if name in MENDED:
            mended, advisory = MENDED[name]
            least = [Version(of.version) for of in requirement.specifier if of.operator in (">=", "==")]
            assert least, f"{requirement} has no least version"
            assert max(least) >= Version(mended), f"{requirement}: {advisory} is mended in {mended}"
            seen.add(name)
    assert seen == set(MENDED)
