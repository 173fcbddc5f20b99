"""A trial as a space file: the sweep's own parser reads it, and the command beside it trains the same again."""

from __future__ import annotations

import math
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.description import parse_study, study
from analysis.recipe import USUAL, next_command, space_file, space_text
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.errors import InputError
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.sweeping.parsing import make_config
from cfsweep.sweeping.space import check_space
from cfsweep.training.streams import load_stream, registry
from cfsweep.yaml_text import parse_yaml
from tests.analysis.folder import Folder, matrix_for
from tests.conftest import Run

NETWORK = {"name": "examples.own_network:build", "args": {"width": 32, "activation": "1e5"}}
# The first lies beside a number with a shorter text; the others have one that YAML 1.1 and 1.2 read differently.
VALUES = {"ewc_lambda": math.nextafter(1e4, 1e5), "lr": 1e-05, "replay_ratio": 0.1 + 0.2, "ewc_fisher": "true"}


def row_with(**settings: Any) -> pd.Series:
    return pd.Series({"trial": 7, "state": "done", **{f"hp_{name}": value for name, value in settings.items()}})


def about(**stream: Any) -> analysis.description.Study:
    space = {"network": NETWORK, "ingredients": ["ewc", "replay"], "search": {"lr": {"low": 1, "high": 2}}}
    stream = {"name": "split-digits", "scenario": "task-il", "standardise": "feature", **stream}
    return parse_study({"study_id": "0123456789ab", "config": {"space": space, "stream": stream, "seeds": 3}})


def test_the_parser_of_sweeps_reads_the_values_of_the_trial(tmp_path: Path) -> None:
    settings = {**VALUES, "epochs": np.int64(3), "replay_buffer": pd.NA}
    path = tmp_path / "space.yaml"
    path.write_text(space_text(about(), row_with(**settings)))
    config = make_config(path, {"stream.scenario": "task-il"}, [])
    check_space(config.space, "test")
    assert config.space.fixed == {**VALUES, "epochs": 3}, "to the last digit, and without what is null"
    assert type(config.space.fixed["epochs"]) is int
    assert config.space.search == {}
    assert config.space.ingredients == ("ewc", "replay")
    assert config.space.network == NetworkConfig.model_validate(NETWORK)
    assert config.space.description == "Trial 7 of study 0123456789ab."


def test_what_a_network_begins_with_and_holds_is_said_where_it_is(tmp_path: Path) -> None:
    more = {"init": "/weights/w.pt", "init_sha256": "ab" * 32, "freeze": ["body.*", "*.bias"]}
    path = tmp_path / "space.yaml"
    for given in ({}, more):
        network = NetworkConfig.model_validate({**NETWORK, **given})
        space = {"network": network.model_dump(mode="json"), "ingredients": []}
        study = parse_study({"study_id": "a", "config": {"space": space}})
        path.write_text(space_text(study, row_with(lr=0.1)))
        assert make_config(path, {}, []).space.network == network
        assert ("init" in path.read_text()) == ("freeze" in path.read_text()) == bool(given)


@pytest.mark.parametrize("text", ["1e5", "010", "0o7", "1:30", "no", "null", "2026-01-01", "a: b", "ä #", ""])
def test_texts_stay_texts(text: str) -> None:
    assert parse_yaml(space_text(about(), row_with(mode=text)))["fixed"] == {"mode": text}


def test_a_study_that_says_little_still_gives_a_space() -> None:
    assert parse_yaml(space_text(parse_study({"study_id": "a"}), row_with(lr=0.1)))["fixed"] == {"lr": 0.1}
    command = next_command(parse_study({"study_id": "a"}), "runs/a", 7, selected=True)
    assert command == "cfsweep run a-trial-7.yaml --trials 1 --seeds 10"


def test_the_next_command() -> None:
    assert next_command(about(), "runs/my demo", 7, selected=False) == "cfsweep select 'runs/my demo'"
    words = shlex.split(next_command(about(), "runs/demo", 7, selected=True))
    assert words[:7] == ["cfsweep", "run", "demo-trial-7.yaml", "--stream", "split-digits", "--scenario", "task-il"]
    assert words[7:] == ["--trials", "1", "--seeds", "10", "--set", "stream.standardise=feature"]
    assert space_file(Path("runs/demo/"), 7) == "demo-trial-7.yaml"


def test_what_the_study_says_of_its_stream_is_in_the_command(tmp_path: Path) -> None:
    told = {
        "data": "/my data",
        "n_tasks": 2,
        "learned": 1,
        "class_order": 7,
        "args": {"a": [1, "1e5"]},
        "target": "my.file:Target",
    }
    stream = {**StreamConfig(name="split-mnist").model_dump(mode="json"), **told, "standardise": "none"}
    command = shlex.split(next_command(about(**stream), "runs/demo", 7, selected=True))
    path = tmp_path / "space.yaml"
    path.write_text(space_text(about(), row_with(lr=0.1)))
    assignments = [value for option, value in pairwise(command) if option == "--set"]
    options = {"name": "stream", "scenario": "scenario", "data": "data"}
    settings = {f"stream.{key}": command[command.index(f"--{option}") + 1] for key, option in options.items()}
    assert make_config(path, settings, assignments).stream.model_dump(mode="json") == stream


@pytest.mark.parametrize("name", [*registry, "/my/tasks", "my.file:tasks"])
def test_the_folder_of_data_sets_is_told_where_the_stream_reads_it(name: str, tmp_path: Path) -> None:
    """A built-in stream reads it if it cannot be loaded from an empty one."""
    reads = False
    if name in registry:
        try:
            load_stream(StreamConfig(name=name, data=str(tmp_path)))
        except InputError:
            reads = True
    words = shlex.split(next_command(about(name=name, data="/my data"), "runs/demo", 7, selected=True))
    assert ("--data" in words) == ("/my data" in words) == reads


def test_what_goes_without_saying_of_a_stream_are_its_defaults() -> None:
    defaults = StreamConfig().model_dump(mode="json")
    assert USUAL.items() <= defaults.items()
    older = parse_study({"study_id": "a", "config": {"stream": {"name": "split-digits"}}})
    assert "stream.standardise=scalar" in next_command(older, "a", 0, selected=True)


def test_the_command_trains_the_chosen_trial_again(run: Run, smoke: Path, tmp_path: Path) -> None:
    stream = ("--stream", "split-digits", "--scenario", "domain-il", "--set", "stream.validation_frac=0.2")
    assert run("run", smoke, *stream, "--trials", "3", "--workers", "0", "--out", "first")[0] == 0
    code, printed, _ = run("select", "first")
    assert code == 0
    text, command = printed.split("yaml:\n\n")[1].split("\n\nand run\n\n")
    chosen = analysis.selection("first")
    assert chosen is not None
    (tmp_path / space_file("first", chosen["trial"])).write_text(text)
    code, _, complaints = run(*shlex.split(command)[1:], "--workers", "0", "--out", "again")
    assert (code, complaints) == (0, "")
    ours, again = analysis.load("first"), analysis.load("again")
    assert set(again["trial"]) == {0, -1, -2, MAJORITY_TRIAL}
    assert len(again[again["trial"] == 0]) == 10
    before = ours[(ours["trial"] == chosen["trial"]) & (ours["seed"] == 0)].iloc[0]
    after = again[(again["trial"] == 0) & (again["seed"] == 0)].iloc[0]
    same = [name for name in ours.columns if name.startswith(("hp_", "val_")) or name == "config_hash"]
    assert before[same].to_dict() == after[same].to_dict()


def test_the_report_and_the_command_line_give_both(known: Path) -> None:
    page = analysis.report(known).read_text()
    assert f"<pre>cfsweep select {known}</pre>" in page
    assert "known-trial-2.yaml" in page
    assert "replay_ratio: 0.2\n" in page
    analysis.select(known)
    page = analysis.report(known).read_text()
    assert "<pre>cfsweep run known-trial-2.yaml --stream split-digits --scenario task-il --trials 1 --seeds 10" in page
    assert study(known).study_id in page


def test_settings_that_could_not_act_are_left_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "study")
    folder.run(0, 0, matrix_for(0.5, 0.8), settings={"replay_ratio": 0.0, "buffer_size": None})
    page = analysis.report(folder.write()).read_text()
    assert "replay_ratio: 0.0\nlr: 0.001" in page.replace("\n  ", "\n")
