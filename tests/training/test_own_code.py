"""Which files code of one's own is made of: those that a change of may change what it does."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfsweep.training.ingredients import registry
from cfsweep.training.own_code import altered, digests, modules_of
from cfsweep.training.targets.classification import Classification

FILES = {
    "own_package/__init__.py": "",
    "own_package/net.py": "import math\nfrom own_package.parts import layers\nfrom . import beside\nimport torch\n",
    "own_package/beside.py": "def late():\n    from .deep import least\n",
    "own_package/parts/__init__.py": "",
    "own_package/parts/layers.py": "",
    "own_package/deep/__init__.py": "",
    "own_package/deep/least.py": "import own_package.net\n",
    "own_package/unused.py": "",
    "own_lonely.py": "import own_helper, json\n",
    "own_helper.py": "import own_lonely\ntry:\n    import no_such_module_at_all\nexcept ImportError:\n    pass\n",
    "own_stranger.py": "",
}


@pytest.fixture(params=["", "site-packages"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with these files, where Python finds them; perhaps as if they were installed."""
    folder: Path = tmp_path / request.param if request.param else tmp_path
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def made_of(name: str) -> set[str]:
    importlib.import_module(name)
    return set(digests([name]))


def test_a_module_of_a_package_is_made_of_what_it_imports_from_there(root: Path) -> None:
    reached = {name for name in FILES if name.startswith("own_package")} - {"own_package/unused.py"}
    assert made_of("own_package.net") == reached
    assert made_of("own_package") == {"own_package/__init__.py"}


def test_a_lonely_module_is_made_of_those_beside_it_unless_it_is_installed(root: Path) -> None:
    beside = {"own_lonely.py"} if root.name == "site-packages" else {"own_lonely.py", "own_helper.py"}
    assert made_of("own_lonely") == beside


def test_what_changes_is_what_has_changed(root: Path) -> None:
    made_of("own_package.net")
    before = digests(["own_package.net"])
    assert digests(["own_package.net"]) == before
    (root / "own_package/deep/least.py").write_text("import own_package.net  # changed\n")
    (root / "own_package/unused.py").write_text("changed = True\n")
    after = digests(["own_package.net"])
    assert {name for name in before if before[name] != after[name]} == {"own_package/deep/least.py"}


def test_what_was_typed_in_has_no_hash() -> None:
    assert digests(["no_such_module_at_all"]) == {"no_such_module_at_all": None}


def test_what_is_built_in_is_not_ones_own() -> None:
    assert [modules_of(kind) for kind in (*registry.values(), Classification)] == [[]] * (len(registry) + 1)
    own = type("Own", (registry["ewc"],), {"__module__": "own_package.net"})
    assert modules_of(own) == ["own_package.net"]


def test_pythons_own_modules_and_other_packages_are_left_out(root: Path) -> None:
    (root / "own_lonely.py").write_text("import collections, own_helper\nclass Kind(collections.UserDict): pass\n")
    module = importlib.import_module("own_lonely")
    assert modules_of(module.Kind) == ["own_lonely"]
    beside = {"own_lonely.py"} if root.name == "site-packages" else {"own_lonely.py", "own_helper.py"}
    assert set(digests(modules_of(module.Kind))) == beside


def test_a_neighbour_that_is_no_python_is_hashed_as_it_is(root: Path) -> None:
    (root / "own_package" / "beside.py").write_text("def f(:\n")
    (root / "own_package" / "net.py").write_text("try:\n    from . import beside\nexcept SyntaxError:\n    pass\n")
    assert made_of("own_package.net") == {"own_package/__init__.py", "own_package/net.py", "own_package/beside.py"}


def test_files_that_were_edited_are_found_whether_loaded_or_not(root: Path) -> None:
    importlib.import_module("own_lonely")
    known = {name: digest for name, digest in digests(["own_lonely"]).items() if digest is not None}
    known |= {"own_package/deep/least.py": hashlib.sha256(FILES["own_package/deep/least.py"].encode()).hexdigest()}
    assert altered(known) == []
    (root / "own_lonely.py").write_text("import own_helper\n")
    (root / "own_package/deep/least.py").write_text("pass\n")
    assert altered({**known, "nowhere/at_all.py": "0" * 64, "encoder mine:build": "0" * 64}) == [
        "own_lonely.py",
        "own_package/deep/least.py",
    ]
    (root / "own_ending").mkdir()
    (root / "own_ending" / "__init__.py").write_text("raise SystemExit\n")
    assert altered({"own_ending/unused.py": "0" * 64}) == [], "what cannot be imported will tell when it is"
