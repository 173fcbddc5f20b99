"""The documents say what is there: files, pieces and their methods, the table of remedies, links into other pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import remedies_page
from cfsweep.hypers import BASE_HYPERS
from cfsweep.training import ingredients
from cfsweep.training.ingredients import Ingredient

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "search_spaces" / "README.md"]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PIECES: dict[str, type[Ingredient]] = {
    name: kind
    for name, kind in vars(ingredients).items()
    if isinstance(kind, type) and issubclass(kind, Ingredient) and kind is not Ingredient
}


def test_the_tables_of_remedies_are_those_of_the_ingredients() -> None:
    page = remedies_page.PAGE.read_text()
    for table in (remedies_page.table(), remedies_page.hypers_table()):
        assert table in page, "run `python -m benchmarks.remedies_page`"


def test_each_hyperparameter_has_a_row_with_its_default_off_value_and_meaning() -> None:
    rows = remedies_page.hypers_table().splitlines()
    hypers = [*BASE_HYPERS, *(hyper for kind in ingredients.registry.values() for hyper in kind.hypers)]
    for hyper in hypers:
        (row,) = (row for row in rows if row.startswith(f"| `{hyper.name}` |"))
        assert hyper.doc in row
        assert row.count("|") == 6, "no cell breaks the table"
    assert "| `replay_ratio` | 0.5 | 0 | 0 <= replay_ratio < 1 | share of each mini-batch that is replayed |" in rows
    assert any(row.endswith("| decay of old curvature (online); with `ewc_mode=online` alone |") for row in rows)
    assert sum("**" in row for row in rows) == 1 + len(ingredients.registry)


def test_the_python_about_remedies_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", remedies_page.PAGE.read_text(), flags=re.DOTALL)
    content: dict[str, object] = {}
    exec(code, content)
    assert callable(content["test_my_penalty"])  # what it calls is called in tests/testing


def test_the_architecture_names_every_piece_and_no_method_that_is_none() -> None:
    named = set(re.findall(r"`([A-Z]\w+)\.(\w+)`", ARCHITECTURE))
    known = {(name, method) for name, piece in PIECES.items() for method in piece.__abstractmethods__}
    own = {(name, method) for name, method in known if method in vars(PIECES[name])}
    assert own <= named
    assert {pair for pair in named if pair[0] in PIECES} <= known


def test_the_files_that_the_architecture_names_are_there() -> None:
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|md|toml|yaml)|(?:[\w-]+/)+)`", ARCHITECTURE))
    places = [ROOT, ROOT / "cfsweep", ROOT / "cfsweep" / "training", ROOT / "cfsweep" / "training" / "ingredients"]
    places += [
        ROOT / "cfsweep" / "sweeping",
        ROOT / "analysis" / "reporting",
        ROOT / "cfsweep" / "training" / "streams",
    ]
    places += [ROOT / "cfsweep" / "training" / "networks", ROOT / "cfsweep" / "training" / "targets"]
    missing = {name for name in named if not any((place / name).exists() for place in places)}
    # study.yaml and its like lie in a results folder.
    assert missing <= {"study.yaml"}
    assert len(named) > 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_headings_that_are_there(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
        page = (document.parent / target) if target else document
        headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{document.name} points to {target}#{anchor}"
