"""A bundle that goes on is the run that had all tasks in one stream, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cfsweep.bundle import Manifest, continue_, write
from cfsweep.bundle.writer import ANSWERS, STATE, WEIGHTS
from cfsweep.config import NetworkConfig, Scenario, Space, StreamConfig, StudyConfig
from cfsweep.testing.packs import MLP, UNLIFTABLE, finish, values_of
from cfsweep.training.ingredients import registry
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream

IN_DOMAIN_IL = [name for name, kind in registry.items() if "domain-il" in kind.scenarios]
ABOUT = {"study_id": "0123456789ab", "git_revision": None}
FLAT = 10


def write_tasks(folder: Path, n_tasks: int, distinct: bool = False) -> Path:
    """A folder of tasks of two classes, `distinct` or the same ones; examples are flat, so that those of the first task
    alone decide how all are standardised."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(n_tasks):
        centres, arrays = rng.normal(size=(2, FLAT)), {}
        for part, n in (("train", 36), ("test", 8)):
            labels = np.resize([0, 1], n)
            arrays[f"x_{part}"] = (3 + centres[labels] + rng.normal(size=(n, FLAT))).astype(np.float32)
            arrays[f"y_{part}"] = labels + 2 * number * distinct
        np.savez(folder / f"task-{number}.npz", **arrays)
    return folder


def stream_config(folder: Path, scenario: Scenario = "domain-il") -> StreamConfig:
    return StreamConfig(
        name=str(folder), scenario=scenario, validation_frac=0.2, steering_frac=0.2, split_seed=3, splits=2
    )


def bundle_of(
    folder: Path, to: Path, name: str | None, network: NetworkConfig = MLP, with_examples: bool = True, **given: Any
) -> Manifest:
    """That of a run over the tasks in `folder`."""
    names = () if name is None else (name,)
    config = stream_config(folder)
    run = RunSpec(4, 1, values_of(names, **given))
    spec = PackSpec(network, config.scenario, names, (run,), split=1, parts=("validation", "test"), keep_models=True)
    pack = finish(Pack(spec, load_stream(config).of_split(1)))
    study = StudyConfig(purpose="confirm", space=Space(ingredients=names), stream=config)
    return write(pack, study, ABOUT, to, with_examples)


def same(one: Path, other: Path) -> None:
    """All but where the examples lay in the store."""
    for file in (WEIGHTS, ANSWERS, STATE):
        mine, theirs = load_file(one / file), load_file(other / file)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if not name.endswith("/place"):
                assert torch.equal(value, theirs[name]), f"{file}: {name} differs"


def continued_as_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    begun: int = 2,
    distinct: bool = False,
    **given: Any,
) -> None:
    """Of four tasks the first ones, `begun`, are one stream, and the others follow one by one."""
    monkeypatch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b""))
    whole = bundle_of(write_tasks(tmp_path / "all", 4, distinct), tmp_path / "whole", name, **given)
    bundle_of(write_tasks(tmp_path / "some", begun, distinct), tmp_path / f"after-{begun - 1}", name, **given)
    for task in range(begun, 4):
        about = continue_(
            tmp_path / f"after-{task - 1}", tmp_path / "all" / f"task-{task}.npz", {}, tmp_path / f"after-{task}"
        )
    same(tmp_path / "after-3", tmp_path / "whole")
    told = {"created_at", "continues", "scores", "files", "git_revision", "stream"}
    assert about.model_dump(exclude=told) == whole.model_dump(exclude=told)
    for part, rows in whole.scores.items():
        assert [row[3] for row in about.scores[part]] == [None, None, None, rows[3][3], rows[4][3]]
        assert [row[:begun] for row in about.scores[part][: begun + 1]] == [row[:begun] for row in rows[: begun + 1]]
        assert about.scores[part][4][:3] == (None, None, None)


@pytest.mark.parametrize("name", [None, *IN_DOMAIN_IL])
def test_a_run_that_goes_on_is_the_run_over_all_tasks(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its shares of the buffer are by the number of tasks: eight examples are two for each of three tasks, or of four.
    given = {"a_gem_online_buffer": 8, "begun": 3} if name == "a-gem-online" else {}
    continued_as_whole(tmp_path, monkeypatch, name, **given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("replay", {"distinct": True, "replay_mode": "class-balanced"}),  # an output is a place within the task
        ("lwf", {"network": UNLIFTABLE, "batch_size": 6}),  # statistics, and random numbers of torch's own
        ("si", {"optimizer_state": "kept"}),
        ("ewc", {"optimizer_state": "kept", "optimizer": "sgd"}),
        ("der++", {"begun": 1}),
        ("generative-replay", {"generative_generator": "per-task"}),  # a row of the state for each task
    ],
)
def test_whatever_else_is_kept_goes_on_too(
    name: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continued_as_whole(tmp_path, monkeypatch, name, **given)
