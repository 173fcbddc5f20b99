"""The report's definitions, and what it says about where its numbers come from."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis
from analysis.description import Study
from analysis.fronts import Front
from analysis.reporting.glossary import conventions, glossary
from cfsweep.metrics import ALL_METRICS

FLAT = {"ewc": "penalty 1/2 lambda sum F d^2", "si": "Omega summed over tasks"}
NESTED = {
    "ewc": {"penalty": ["latest weights", "the weights <b>of</b> each task"], "fisher": "true label & mean"},
    "si": {"penalty": "Omega summed over tasks"},
    "replay": {},
}


@pytest.fixture(scope="module")
def found(known_once: Path) -> Front:
    return analysis.front(analysis.trials(analysis.load(known_once)))


def entries(text: str) -> dict[str, str]:
    """The names of a glossary and the text of each."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text, flags=re.DOTALL)
    return {unescape(name): unescape(definition) for name, definition in pairs}


def about(**more: Any) -> Study:
    return Study("a", raw={"study_id": "a", **more})


def test_every_metric_is_defined(found: Front) -> None:
    assert {metric.name for metric in ALL_METRICS} <= set(entries(glossary(about(), found)))


def test_it_says_why_the_default_has_no_corrected_mean(found: Front) -> None:
    assert "– for the default, which was named beforehand" in entries(glossary(about(), found))["corrected"]


def test_a_convention_has_one_entry_per_ingredient_and_one_line_per_part(found: Front) -> None:
    text = glossary(about(conventions=NESTED), found)
    shown = {name: said for name, said in entries(text).items() if "convention" in name}
    assert shown == {
        "convention of ewc": "penalty: latest weights; or the weights <b>of</b> each task\nfisher: true label & mean",
        "convention of si": "penalty: Omega summed over tasks",
    }
    assert "the weights &lt;b&gt;of&lt;/b&gt; each task" in text
    assert "<b>" not in text


def test_a_convention_of_older_folders_is_one_text_per_ingredient(found: Front) -> None:
    shown = entries(glossary(about(conventions=FLAT), found))
    assert shown["convention of ewc"] == FLAT["ewc"]
    assert shown["convention of si"] == FLAT["si"]


@pytest.mark.parametrize("more", [{}, {"conventions": None}, {"conventions": {}}, {"conventions": {"ewc": None}}])
def test_without_conventions_nothing_is_said_of_them(found: Front, more: dict[str, Any]) -> None:
    assert "convention" not in glossary(about(**more), found)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("one text", [("conventions", "one text")]),
        (["a", {"b": 1}], [("conventions", 'a; {"b": 1}')]),
        ({"ewc": ["a", "b"]}, [("convention of ewc", "a; or b")]),
        ({"ewc": {"fisher": None, "penalty": "p"}}, [("convention of ewc", "penalty: p")]),
        ({"ewc": {"fisher": []}}, []),
    ],
)
def test_what_nobody_writes_is_still_shown(content: object, shown: list[tuple[str, str]]) -> None:
    assert conventions(content) == shown


def test_a_report_defines_every_metric_and_shows_the_conventions_of_its_study(known: Path) -> None:
    study = yaml.safe_load((known / "study.yaml").read_text())
    (known / "study.yaml").write_text(yaml.safe_dump(study | {"conventions": NESTED}))
    shown = entries(analysis.report(known).read_text(encoding="utf-8"))
    assert {metric.name for metric in ALL_METRICS} <= set(shown)
    assert [name for name in shown if "convention" in name] == ["convention of ewc", "convention of si"]
    assert shown["convention of si"] == "penalty: Omega summed over tasks"
    assert shown["git revision"] == "1fb2021"
