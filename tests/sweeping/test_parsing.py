"""From YAML and the command line to a study: read in one pass, refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cfsweep.config import Range, StudyConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.parsing import make_config, parse

SPACE = """
scenario: class-il
network: {name: mlp, args: {hidden: [8]}}
ingredients: [ewc]
fixed: {lr: 0.1}
search: {ewc_lambda: {low: 1, high: 100, log: true}}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def refusal(space: Path, *assignments: str, **settings: Any) -> str:
    """The one line with which these are refused."""
    with pytest.raises(InputError) as caught:
        make_config(space, settings, assignments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ a space file

BAD_FILES = {
    "unknown key": ("ingredient: [ewc]", "unknown key `ingredient`. Known, closest first: ingredients, "),
    "low > high": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1000, high: 10}}",
        "`low <= high` must hold for `ewc_lambda`, but got (low=1000.0, high=10.0). Swap the bounds.",
    ),
    "log from 0": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 0, high: 10, log: true}}",
        "`low > 0` must hold for `ewc_lambda` on a log scale, but got low=0.0. Raise it, and add `zero: true` if 0 "
        "itself is wanted.",
    ),
    "zero beside a single value": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 5, high: 5, zero: true}}",
        "`low < high` must hold for `ewc_lambda` beside `zero: true`, but got (low=5.0, high=5.0). Write "
        "`choices: [0, 5]`.",
    ),
    "no choices": ("ingredients: [ewc]\nsearch: {ewc_lambda: {choices: []}}", "`search.ewc_lambda.choices`: "),
    "a mistyped bound": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1, hihg: 2}}",
        "unknown key `search.ewc_lambda.hihg`. Known, closest first: search.ewc_lambda.high, ",
    ),
    "a missing bound": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: 1}}",
        "`search.ewc_lambda.high` is missing, but got {'low': 1}. Add it.",
    ),
    "a bound that is text": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: {low: x, high: 3}}",
        "`search.ewc_lambda.low` should be a valid number, unable to parse string as a number, but got 'x'.",
    ),
    "a number instead of a range": (
        "ingredients: [ewc]\nsearch: {ewc_lambda: 3}",
        "`search.ewc_lambda` is to be searched, so `choices: [...]` or `low:` and `high:` are needed below it",
    ),
    "a bare true": ("ingredients: [ewc]\nfixed: {ewc_fisher: true}", "`fixed.ewc_fisher` should be "),
    "no mapping": ("- ewc", "a mapping of keys to values is needed, but got list."),
    "empty": ("", "a mapping of keys to values is needed, but got NoneType."),
    "no YAML": ("search: {lr: [", "not valid YAML"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_that_says_where(case: str, tmp_path: Path) -> None:
    text, message = BAD_FILES[case]
    path = tmp_path / "space.yaml"
    path.write_text(text)
    found = refusal(path)
    assert found.startswith(f"{path}: ")
    assert message in found
    assert "function-after" not in found  # pydantic's own marks


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml").endswith(
        "none.yaml: cannot be read (No such file or directory). Check the path."
    )
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


def test_a_file_alone_is_a_study_with_defaults(space: Path) -> None:
    config = make_config(space, {}, [])
    assert config == StudyConfig.model_validate(
        {"space": yaml.safe_load(SPACE), "stream": {"scenario": "class-il", "data": config.stream.data}}
    )


# ------------------------------------------------------------------------------------------------ options


def test_options_go_to_their_places_and_none_is_passed_over(space: Path) -> None:
    config = make_config(space, {"trials": 7, "objective.name": "pareto", "seeds": None, "pack_runs": "auto"}, [])
    assert (config.trials, config.objective.name, config.seeds, config.pack_runs) == (7, "pareto", 1, "auto")


def test_the_scenario_is_the_options_else_that_of_the_space(space: Path) -> None:
    assert make_config(space, {}, []).stream.scenario == "class-il"
    assert make_config(space, {"stream.scenario": "task-il"}, []).stream.scenario == "task-il"
    assert make_config(space, {}, ["scenario=domain-il"]).stream.scenario == "domain-il"
    assert make_config(space, {}, ["stream.scenario=domain-il"]).stream.scenario == "domain-il"


def test_a_bad_option_is_named_as_it_was_given(space: Path) -> None:
    assert refusal(space, trials=0).startswith("--trials: `trials` should be greater than 0")
    assert refusal(space, pack_runs=0).startswith("--pack: `pack_runs` should be greater than 0")
    assert refusal(space, **{"objective.name": "best"}).startswith("--objective: `objective.name` should be ")
    assert refusal(space, **{"stream.scenario": "x"}).startswith("--scenario: `stream.scenario` should be ")


# ------------------------------------------------------------------------------------------------ --set


def test_set_moves_a_hyperparameter_between_fixed_and_searched(space: Path) -> None:
    config = make_config(space, {}, ["ewc_lambda=5", "search.lr={low: 0.1, high: 1}"])
    assert config.space.fixed == {"ewc_lambda": 5}
    assert config.space.search == {"lr": Range(low=0.1, high=1)}
    again = make_config(space, {}, ["space.search.lr={low: 0.1, high: 1}"])
    assert (set(again.space.fixed), set(again.space.search)) == ({"lr"}, {"ewc_lambda", "lr"}), "by its place: as it is"


def test_set_acts_before_the_file_is_parsed(tmp_path: Path) -> None:
    """So it can mend what is wrong there."""
    (tmp_path / "bad.yaml").write_text("ingredients: [ewc]\nsearch: {ewc_lambda: {low: 9, high: 1}}\nfixed: {lr: [1]}")
    config = make_config(tmp_path / "bad.yaml", {}, ["search.ewc_lambda.high=10", "lr=0.5"])
    assert config.space.search == {"ewc_lambda": Range(low=9, high=10)}
    assert config.space.fixed == {"lr": 0.5}


def test_another_network_does_not_inherit_arguments(space: Path) -> None:
    network = make_config(space, {}, ["network.args.depth=2"]).space.network
    assert (network.name, network.args) == ("mlp", {"hidden": [8], "depth": 2})
    network = make_config(space, {}, ["network.name=cnn", "network.args.hidden=5"]).space.network
    assert (network.name, network.args) == ("cnn", {"hidden": 5})


def test_hyperparameters_of_an_ingredient_of_ones_own_go_by_their_names(space: Path) -> None:
    own = "ingredients=[examples.own_remedy:EWCPlusPlus]"
    config = make_config(space, {}, [own, "ewcpp_lambda=5"])
    assert config.space.fixed == {"lr": 0.1, "ewcpp_lambda": 5}
    assert refusal(space, "ewcpp_lamda=5").startswith("--set: unknown key `ewcpp_lamda`. Known, closest first: ")
    assert "ewcpp_lambda, " in refusal(space, own, "ewcpp_lamda=5").partition("closest first: ")[2]


def test_the_last_one_counts(space: Path) -> None:
    assert make_config(space, {"seeds": 2}, ["seeds=3", "seeds=4"]).seeds == 4
    assert make_config(space, {}, ["stop_trials=false", "early_stopping=true"]).stop_trials


ODD = {
    "space=3": "--set: `space` should be a valid mapping of keys to values, but got 3.",
    "stream=split-digits": "--set: `stream` should be a valid mapping of keys to values, but got 'split-digits'.",
    "objective=pareto": "--set: `objective` should be a valid mapping of keys to values, but got 'pareto'.",
    "search=3": "--set: `search` should be a valid mapping of keys to values, but got 3.",
    "search.lr=[1]": "--set: `search.lr` is to be searched, so `choices: [...]` or",
    "ingredients=ewc": "--set: `ingredients` should be ",
    "ingredients=[[3]]": "--set: `ingredients.0` should be a valid string, but got [3].",
    "network=cnn": "--set: `network` should be a valid mapping of keys to values, but got 'cnn'.",
    "early_stopping=maybe": "--set: `stop_trials` should be a valid boolean",
    "lr.x=1": "--set: unknown key `lr.x`. Known, closest first: lr, ",
    "fixed.lr.x=1": "--set space.fixed.lr.x: `lr` holds a single value, so nothing lies below it.",
    "identity_version=9": "--set identity_version: it is cfsweep's own note in a study's folder. Leave it out.",
    "seeds_at_start=9": "--set seeds_at_start: it is cfsweep's own note in a study's folder. Leave it out.",
}


@pytest.mark.parametrize("assignment", ODD)
def test_an_odd_assignment_is_refused_in_one_line(assignment: str, space: Path) -> None:
    assert refusal(space, assignment).startswith(ODD[assignment])
    assert refusal(space, assignment, "batch_size=3").startswith("--set")


@pytest.mark.parametrize("value", ["2020-01-01", ".inf", "{1: {2: 3}}"])
def test_whatever_an_argument_of_ones_own_is_the_study_has_an_id(space: Path, value: str) -> None:
    config = make_config(space, {}, [f"network.args.given={value}"])
    written = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert StudyConfig.model_validate(written).study_id == config.study_id


def test_a_mapping_may_have_one_origin_for_all(space: Path) -> None:
    with pytest.raises(InputError, match=r"^study\.yaml: `seeds` should be greater than or equal to 1, but got 0\.$"):
        parse(StudyConfig, {"space": {}, "seeds": 0}, "study.yaml")


# ------------------------------------------------------------------------------------------------ places


def test_paths_are_made_absolute(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a study can be resumed from another folder, and without the environment it began in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks").mkdir()
    monkeypatch.setenv("CFSWEEP_DATA", "data")
    stream = make_config(space, {"stream.name": "tasks"}, []).stream
    assert (stream.name, stream.data) == (str(tmp_path / "tasks"), str(tmp_path / "data"))
    monkeypatch.delenv("CFSWEEP_DATA")
    stream = make_config(space, {"stream.name": "a.b:c"}, []).stream
    assert (stream.name, stream.data) == ("a.b:c", None)
