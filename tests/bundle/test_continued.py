"""A bundle that goes on is the run that had all tasks in one stream, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cfsweep.bundle import Manifest, continue_, load, write
from cfsweep.bundle.grown import Grown
from cfsweep.bundle.writer import ANSWERS, CARD, PROGRAM, STATE, WEIGHTS
from cfsweep.config import NetworkConfig, Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import MLP, UNLIFTABLE, finish, values_of
from cfsweep.training.ingredients import registry
from cfsweep.training.pack import Pack
from cfsweep.training.pack_context import PackContext
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import load_stream

IN_DOMAIN_IL = [name for name, kind in registry.items() if "domain-il" in kind.scenarios]
ABOUT = {"study_id": "0123456789ab", "git_revision": None}
FLAT = 10
GROWING: list[tuple[str | None, Scenario]] = [
    (name, scenario)
    for name, kind in {None: None, **registry}.items()
    for scenario in ("task-il", "class-il")
    if kind is None or scenario in kind.scenarios
]
# Of weights near 1, after a hundred steps whose products have other shapes, and round differently.
ROUNDING = 1e-4


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
    folder: Path,
    to: Path,
    name: str | None,
    network: NetworkConfig = MLP,
    with_examples: bool = True,
    scenario: Scenario = "domain-il",
    refit: bool = False,
    split: int = 1,
    **given: Any,
) -> Manifest:
    """That of a run over the tasks in `folder`."""
    names = () if name is None else (name,)
    config = stream_config(folder, scenario)
    run = RunSpec(4, 1, values_of(names, **given))
    parts = ("test",) if refit else ("validation", "test")
    spec = PackSpec(network, config.scenario, names, (run,), split=split, parts=parts, keep_models=True)
    stream = load_stream(config)
    pack = finish(Pack(spec, (stream.refitted() if refit else stream).of_split(split)))
    study = StudyConfig(purpose="refit" if refit else "confirm", space=Space(ingredients=names), stream=config)
    return write(pack, study, ABOUT, to, with_examples)


def same(one: Path, other: Path, apart: float = 0.0) -> None:
    """All but where the examples lay in the store; numbers may be so far `apart`."""
    for file in (WEIGHTS, ANSWERS, STATE):
        mine, theirs = load_file(one / file), load_file(other / file)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if not name.endswith("/place"):
                alike = torch.allclose(value, theirs[name], rtol=0, atol=apart) if apart else False
                assert torch.equal(value, theirs[name]) or alike, f"{file}: {name} differs"


def continued_as_whole(
    tmp_path: Path,
    name: str | None,
    begun: int = 2,
    distinct: bool = False,
    apart: float = 0.0,
    **given: Any,
) -> None:
    """Of four tasks the first ones, `begun`, are one stream, and the others follow one by one."""
    whole = bundle_of(write_tasks(tmp_path / "all", 4, distinct), tmp_path / "whole", name, **given)
    bundle_of(write_tasks(tmp_path / "some", begun, distinct), tmp_path / f"after-{begun - 1}", name, **given)
    for task in range(begun, 4):
        about = continue_(
            tmp_path / f"after-{task - 1}", tmp_path / "all" / f"task-{task}.npz", {}, tmp_path / f"after-{task}"
        )
    same(tmp_path / "after-3", tmp_path / "whole", apart)
    told = {"created_at", "continues", "scores", "constant", "files", "git_revision", "stream", "stream_config"}
    assert about.model_dump(exclude=told) == whole.model_dump(exclude=told)
    for part, rows in whole.scores.items():
        assert [row[3] for row in about.scores[part]] == [None, None, None, rows[3][3], rows[4][3]]
        learned = slice(0 if whole.n_outputs == 2 else 1, begun + 1)  # in class-il one guesses among all at first
        assert [row[:begun] for row in about.scores[part][learned]] == [row[:begun] for row in rows[learned]]
        assert about.scores[part][4][:3] == (None, None, None)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("name", [None, *IN_DOMAIN_IL])
def test_a_run_that_goes_on_is_the_run_over_all_tasks(name: str | None, tmp_path: Path) -> None:
    # Its shares of the buffer are by the number of tasks: eight examples are two for each of three tasks, or of four.
    given = {"a_gem_online_buffer": 8, "begun": 3} if name == "a-gem-online" else {}
    continued_as_whole(tmp_path, name, **given)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("replay", {"distinct": True, "replay_mode": "class-balanced"}),  # an output is a place within the task
        ("lwf", {"network": UNLIFTABLE, "batch_size": 6}),  # statistics, and random numbers of torch's own
        ("si", {"optimizer_state": "kept"}),
        ("ewc", {"optimizer_state": "kept", "optimizer": "sgd"}),
        ("der++", {"begun": 1}),
        ("icarl", {"scenario": "class-il"}),  # known classes go on: no outputs are added
        ("replay", {"scenario": "task-il", "replay_mode": "class-balanced"}),
        ("generative-replay", {"generative_generator": "per-task"}),  # a row of the state for each task
    ],
)
def test_whatever_else_is_kept_goes_on_too(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    continued_as_whole(tmp_path, name, **given)


# ------------------------------------------------------------------------------------------------ new outputs


def beginning_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the outputs of each task begin with the weights and biases that they would be drawn with if the task
    were the last one."""
    drawn = PackContext.initial_weights

    def initial_weights(context: PackContext) -> torch.Tensor:
        stream, theta = context.stream, drawn(context)
        if len(stream.tasks) <= 2:
            return theta
        shorter = PackContext(context.spec, replace(stream, tasks=stream.tasks[:-1]), context.device)
        sizes = [of.outputs.n_outputs for of in (shorter, context)]
        grown = Grown(shorter.lifted.module, sizes[0], context.lifted.module, sizes[1], "here")
        return grown.vector(shorter.initial_weights(), theta)

    monkeypatch.setattr(PackContext, "initial_weights", initial_weights)


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize(("name", "scenario"), GROWING)
def test_new_classes_get_outputs(
    name: str | None, scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"a_gem_online_buffer": 8, "begun": 3} if name == "a-gem-online" else {}
    beginning_alike(monkeypatch)
    continued_as_whole(tmp_path, name, distinct=True, apart=ROUNDING, scenario=scenario, **given)


def test_labels_are_the_users_and_known_ones_keep_their_outputs(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    rng = np.random.default_rng(0)
    centres = {label: 3 * rng.normal(size=FLAT) for label in (10, 20, 30, 5)}
    for number, pair in enumerate([(10, 20), (20, 30), (30, 5)]):
        y = np.resize(pair, 60)
        x = (np.array([centres[label] for label in y]) + rng.normal(size=(60, FLAT))).astype(np.float32)
        np.savez((tmp_path if number else tmp_path / "tasks") / f"{number}.npz", x_train=x, y_train=y)
    bundle_of(tmp_path / "tasks", tmp_path / "one", "replay", scenario="class-il", epochs=9, replay_buffer=40)
    continue_(tmp_path / "one", tmp_path / "1.npz", {}, tmp_path / "two")
    about = continue_(tmp_path / "two", tmp_path / "2.npz", {}, tmp_path / "three")
    assert (about.class_ids, about.n_outputs) == ((10, 20, 30, 5), 4), "numbered as they came"
    assert [task.classes for task in about.tasks] == [(0, 1), (1, 2), (2, 3)]
    assert all(task.labels == (10, 20, 30, 5) for task in about.tasks)
    model = load(tmp_path / "three")
    assert [model.predict(centre.astype(np.float32)[None])[0] for centre in centres.values()] == list(centres)
    program = torch.export.load(tmp_path / "three" / PROGRAM).module()
    x = torch.from_numpy(np.stack(list(centres.values()))).to(torch.float32)
    assert program(x) == pytest.approx(model.outputs(x), abs=1e-5)
    assert "| after `2` | – | – | " in (tmp_path / "three" / CARD).read_text()


@pytest.mark.usefixtures("no_program")
def test_a_refitted_model_trains_on_validation_examples_of_the_next_task_too(tmp_path: Path) -> None:
    continued_as_whole(tmp_path, "replay", refit=True)


def one_for_each_output(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A network of which more than the output layer goes by the number of outputs."""
    return nn.Sequential(nn.Linear(input_shape[0], n_outputs), nn.ReLU(), nn.Linear(n_outputs, n_outputs))


def test_a_network_that_cannot_get_outputs_is_refused(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", 2, distinct=True)
    network = NetworkConfig(name="tests.bundle.test_continued:one_for_each_output")
    (tmp_path / "first").mkdir()
    (tasks / "task-0.npz").rename(tmp_path / "first" / "task-0.npz")
    bundle_of(tmp_path / "first", tmp_path / "bundle", None, network, scenario="class-il")
    with pytest.raises(InputError) as caught:
        continue_(tmp_path / "bundle", tasks / "task-1.npz", {}, tmp_path / "after")
    assert str(caught.value) == (
        f"network of {tmp_path / 'bundle'}: it can get rows for new outputs, but with 4 in place of 2 its `2.weight` "
        "has the shape (4, 4) in place of (2, 2). Train all tasks again."
    )


def write_table(path: Path, columns: list[str], seed: int) -> Path:
    rng = np.random.default_rng(seed)
    y = np.resize([0, 1], 40)
    known = {"a": 100 + 5 * y + rng.normal(size=40), "b": rng.normal(size=40), "c": y - rng.normal(size=40)}
    table = pa.table({**{name: known[name].astype(np.float32) for name in columns}, "y": y})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.usefixtures("no_program")
def test_named_columns_go_by_their_names(tmp_path: Path) -> None:
    for task in range(2):
        write_table(tmp_path / "tasks" / f"{task}.parquet", ["a", "b", "c"], task)
    assert bundle_of(tmp_path / "tasks", tmp_path / "bundle", "replay").features == ("a", "b", "c")
    write_table(tmp_path / "next" / "part-0.parquet", ["c", "a", "b"], 2)  # a folder of parts
    write_table(tmp_path / "same.parquet", ["a", "b", "c"], 2)
    continue_(tmp_path / "bundle", tmp_path / "next", {}, tmp_path / "after")
    about = continue_(tmp_path / "bundle", tmp_path / "same.parquet", {}, tmp_path / "too")
    same(tmp_path / "after", tmp_path / "too")
    assert list(about.data_sha256) == ["0.parquet", "1.parquet", "same.parquet"]
    columns = pq.read_table(tmp_path / "same.parquet").rename_columns(["a", "b", "d", "y"])
    pq.write_table(columns, tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"it lacks `c` and has `d`"):
        continue_(tmp_path / "bundle", tmp_path / "other.parquet", {}, tmp_path / "not")
