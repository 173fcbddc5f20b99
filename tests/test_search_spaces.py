"""The shipped search spaces: each parses, each range has its source, and the format refuses what it should."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import analysis
import cfsweep
import search_spaces
from cfsweep.config import Range, Space
from cfsweep.errors import InputError
from cfsweep.hypers import BASE_HYPERS
from cfsweep.sweeping.notes import never_acting
from cfsweep.training.ingredients import hypers_of, ingredient_class


def unsourced(text: str) -> list[str]:
    """The searched names whose comment block, right above, does not begin with `Source:`."""
    lines = text.splitlines()
    missing = []
    for name in yaml.safe_load(text).get("search", {}):
        line = next(i for i, line in enumerate(lines) if line.startswith(f"  {name}:"))
        first = line
        while lines[first - 1].startswith("  #"):
            first -= 1
        if not lines[first].startswith("  # Source: "):
            missing.append(name)
    return missing


@pytest.fixture(params=search_spaces.names())
def space_file(request: pytest.FixtureRequest) -> Path:
    return search_spaces.path(request.param)


def test_the_shipped_spaces_are_these(project_root: Path) -> None:
    files = sorted(path.stem for path in (project_root / "search_spaces").glob("*.yaml"))
    assert list(search_spaces.names()) == files
    assert {"ewc", "mixed", "packnet", "replay", "smoke"} <= set(files)


def test_an_unknown_space_names_the_known_ones_closest_first() -> None:
    with pytest.raises(InputError, match=r"unknown space `mixt`\. Known, closest first: mixed, "):
        search_spaces.path("mixt")


def test_it_parses(space_file: Path) -> None:
    space = Space.model_validate(yaml.safe_load(space_file.read_text()))
    assert space.description
    assert space.search or space_file.stem == "ncm"  # whose means leave nothing to search
    assert not set(space.fixed) & set(space.search)


def test_its_names_belong_to_its_ingredients(space_file: Path) -> None:
    space = Space.model_validate(yaml.safe_load(space_file.read_text()))
    assert {*space.fixed, *space.search} <= set(hypers_of(space.ingredients))


def test_its_fixed_base_values_are_legal(space_file: Path) -> None:
    space = Space.model_validate(yaml.safe_load(space_file.read_text()))
    for hyper in BASE_HYPERS:
        if hyper.name in space.fixed:
            hyper.check(space.fixed[hyper.name], space_file.name)


def test_each_range_has_its_source(space_file: Path) -> None:
    assert unsourced(space_file.read_text()) == []


def test_a_range_without_a_source_is_noticed() -> None:
    text = search_spaces.path("mixed").read_text()
    assert unsourced(text.replace("# Source: Hsu", "# Hsu")) == ["replay_ratio"]
    assert len(unsourced(text.replace("# Source: ", "# "))) == 4


def test_mixed_searches_the_four_knobs() -> None:
    mixed = yaml.safe_load(search_spaces.path("mixed").read_text())
    assert set(mixed["search"]) == {"ewc_lambda", "replay_ratio", "replay_buffer", "packnet_rate"}
    assert mixed["ingredients"] == ["ewc", "replay", "packnet"]
    assert mixed["scenario"] == "task-il"


@pytest.mark.parametrize("name", ["mixed", "ewc"])
def test_lambda_spans_zero_and_nine_decades(name: str) -> None:
    space = Space.model_validate(yaml.safe_load(search_spaces.path(name).read_text()))
    assert space.search["ewc_lambda"] == Range(low=0.1, high=1e8, log=True, zero=True)


@pytest.mark.parametrize("name", ["ncm", "slda", "ranpac"])
def test_a_closed_form_searches_what_acts_on_features(name: str) -> None:
    """No step is taken, so that nothing of the training acts; and nothing of its own that needs another value."""
    space = Space.model_validate(yaml.safe_load(search_spaces.path(name).read_text()))
    assert (space.network.name, space.network.args, space.ingredients) == ("linear", {}, (name,))
    assert set(space.search) <= {hyper.name for hyper in ingredient_class(name).hypers}
    assert f"{name}_adapts" not in space.search, "it says whether a network is trained that is not there"
    assert not set(never_acting(space, hypers_of(space.ingredients))) & set(space.search)


def test_class_means_are_one_trial(tmp_path: Path) -> None:
    ncm = yaml.safe_load(search_spaces.path("ncm").read_text())
    cfsweep.sweep(ncm, "split-digits", trials=3, seeds=1, workers=0, out=tmp_path / "out")
    rows = analysis.load(tmp_path / "out")
    rows = rows[rows["trial"] >= 0].sort_values("trial")
    assert rows["trial"].tolist() == [0, 1, 2]
    assert rows["same_as"].fillna(-1).tolist() == [-1, 0, 0]


def test_the_ridge_of_ranpac_is_found_on_examples_held_out() -> None:
    space = Space.model_validate(yaml.safe_load(search_spaces.path("ranpac").read_text()))
    assert space.fixed == {"ranpac_ridge_by": "held-out"}
    assert set(space.search) == {"ranpac_projection"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bounds the wrong way round": (
        {"search": {"ewc_lambda": {"low": 1000, "high": 10}}},
        "low <= high.*Swap the bounds",
    ),
    "a log scale from 0": ({"search": {"ewc_lambda": {"low": 0, "high": 10, "log": True}}}, "low > 0.*zero: true"),
    "no choices": ({"search": {"ewc_mode": {"choices": []}}}, "at least 1 item"),
    "an unknown key of a range": ({"search": {"ewc_lambda": {"low": 1, "high": 10, "step": 2}}}, "Extra inputs"),
    "an unknown key of a space": ({"serach": {}}, "Extra inputs"),
    "an unknown scenario": ({"scenario": "task-incremental"}, "task-il"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_format_refuses(case: str) -> None:
    change, message = REFUSED[case]
    space = copy.deepcopy(yaml.safe_load(search_spaces.path("mixed").read_text()))
    Space.model_validate(space)
    for key, value in change.items():
        space[key] = {**space[key], **value} if isinstance(value, dict) and key in space else value
    with pytest.raises(ValidationError, match=message):
        Space.model_validate(space)
