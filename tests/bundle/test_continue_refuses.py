"""What cannot go on is one line, and nothing is half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cfsweep
from cfsweep.bundle import continue_, read_manifest
from cfsweep.bundle.continued import opened
from cfsweep.errors import InputError
from tests.bundle.test_continued import FLAT, bundle_of, write_tasks
from tests.conftest import Run, without_program


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks, and bundles of runs over the first two."""
    root = tmp_path_factory.mktemp("ground")
    tasks = write_tasks(root / "tasks", 3)
    shutil.copytree(tasks, root / "first", ignore=lambda _folder, names: [n for n in names if n == "task-2.npz"])
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        bundle_of(root / "first", root / "ewc", "ewc")
        bundle_of(root / "first", root / "adam", "ewc", optimizer_state="kept")
        bundle_of(root / "first", root / "off", "ewc", ewc_lambda=0.0)
        bundle_of(root / "first", root / "l2-off", "l2-sp", l2_sp_lambda=0.0)
        bundle_of(root / "first", root / "replay", "replay")
        bundle_of(root / "first", root / "replay-bare", "replay", with_examples=False)
        bundle_of(root / "first", root / "limit-bare", "forgetting-limit", with_examples=False)
        bundle_of(root / "first", root / "generative", "generative-replay")
        bundle_of(root / "first", root / "limit-off", "forgetting-limit", forgetting_limit=1.0)
    return root


def refused(ground: Path, to: Path, bundle: str = "ewc", task: str | Path = "tasks/task-2.npz", **changes: Any) -> str:
    """What is said to this attempt."""
    with pytest.raises(InputError) as caught:
        continue_(ground / bundle, ground / task, changes, to / "after")
    assert not list(to.glob("*after*"))
    return str(caught.value)


def saved(to: Path, x: Any, y: Any) -> Path:
    np.savez(to / "new.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return to / "new.npz"


def test_a_task_that_does_not_fit(ground: Path, tmp_path: Path) -> None:
    labels = np.resize([0, 1], 30)
    x = np.random.default_rng(0).normal(size=(30, FLAT)).astype(np.float32)
    assert refused(ground, tmp_path, task="tasks/task-1.npz").startswith(
        f"--task {ground / 'tasks' / 'task-1.npz'}: the bundle has learned it already (SHA-256 "
    )
    shutil.copy(ground / "tasks" / "task-1.npz", tmp_path / "renamed.npz")
    assert "has learned it already" in refused(ground, tmp_path, task=tmp_path / "renamed.npz")
    assert refused(ground, tmp_path, task=saved(tmp_path, x[:, :-1], labels)).endswith(
        "its examples must be as those of the bundle, (10,) float32, but they are (9,) float32. Convert them."
    )
    assert "they are (10,) uint8" in refused(ground, tmp_path, task=saved(tmp_path, x.astype(np.uint8), labels))
    assert refused(ground, tmp_path, task=saved(tmp_path, x, labels * 7)) == (
        "--task new: in domain-il the bundle has 2 outputs for good, but this task needs 3: labels 7 are unknown to it "
        "(an output is a class, which tasks share). Give it a task of the labels that it knows, or train in class-il "
        "or task-il."
    )
    assert "has none of the classes of" in refused(ground, tmp_path, task=saved(tmp_path, x, labels + 2))
    assert "there is no .npz or .parquet file" in refused(ground, tmp_path, task="tasks/task-9.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    assert "truncated" in refused(ground, tmp_path, task=tmp_path / "damaged.npz")


def test_a_setting_that_cannot_be_changed(ground: Path, tmp_path: Path) -> None:
    assert refused(ground, tmp_path, ewc_lamda=1.0).startswith("--set: unknown setting `ewc_lamda`. Known, closest")
    assert refused(ground, tmp_path, lr=-1.0).startswith("--set lr: `0 < lr` must hold, but got lr=-1.0.")
    assert refused(ground, tmp_path, "off", ewc_lambda=1.0) == (
        "--set: `ewc` was off, so it has kept nothing of the tasks before. Leave it off."
    )
    assert refused(ground, tmp_path, "replay", replay_buffer=10) == (
        "--set replay_buffer=10: `replay_buffer <= 9` must hold, as a buffer cannot get back what it has let go of. "
        "Take less, or leave it as it is."
    )
    assert refused(ground, tmp_path, "adam", optimizer="sgd").startswith(
        "--set optimizer=sgd: the state that is kept is of adam."
    )
    assert refused(ground, tmp_path, "generative", generative_hidden=5) == (
        f"{ground / 'generative'}: what `generative-replay` has kept as `generators` does not fit it now, of another "
        "setting or version. Leave the setting as it was, or export the model again."
    )
    assert refused(ground, tmp_path, lr=1e30).startswith("--task task-2: the loss was not finite at task 2, step ")


@pytest.mark.parametrize(
    "change", [torch.Tensor.double, lambda value: value[..., :-1], lambda value: torch.stack([value, value]), None]
)
def test_what_was_kept_by_another_version(ground: Path, change: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
    """Of another type or shape, or not there at all."""
    start, task = opened(ground / "ewc"), ground / "tasks" / "task-2.npz"
    (entry,) = [name for name in start.state if name == "ewc/state/curvature"]
    others = {name: value for name, value in start.state.items() if name != entry}
    other = replace(start, state=others if change is None else {**others, entry: change(start.state[entry])})
    with pytest.raises(InputError, match=r"what `ewc` has kept as `curvature` does not fit it now"):
        other.own_pack(task, {})


def test_what_the_optimizer_keeps_of_new_outputs_is_nothing_yet(tmp_path: Path) -> None:
    write_tasks(tmp_path / "some", 2, distinct=True)
    bundle_of(tmp_path / "some", tmp_path / "kept", None, scenario="class-il", optimizer_state="kept")
    write_tasks(tmp_path / "all", 3, distinct=True)
    pack = opened(tmp_path / "kept").own_pack(tmp_path / "all" / "task-2.npz", {})
    assert pack.stack.optimizer
    for value in pack.stack.optimizer.values():
        head = pack.context.layout.unflatten(value[0])["head.weight"]
        assert not head[4:].any()
        assert head[:4].any()


def test_a_bundle_that_lacks_examples(ground: Path, tmp_path: Path) -> None:
    assert refused(ground, tmp_path, "replay-bare") == (
        f"{ground / 'replay-bare'}: `replay` needs the 9 examples that it has kept, but they are not in it. Export it "
        "again without `--without-data`."
    )
    assert refused(ground, tmp_path, "limit-bare").startswith(
        f"{ground / 'limit-bare'}: `forgetting-limit` needs the steering examples of all tasks so far, but they are "
    )


@pytest.mark.usefixtures("no_program")
def test_a_remedy_that_is_off_needs_none(ground: Path, tmp_path: Path) -> None:
    for number, (bundle, changes) in enumerate(
        [
            ("replay-bare", {"replay_ratio": 0.0}),
            ("limit-bare", {"forgetting_limit": 1.0}),
            ("limit-off", {}),
            ("l2-off", {"l2_sp_lambda": 1.0}),  # the weights are all that it needs
        ]
    ):
        about = continue_(ground / bundle, ground / "tasks" / "task-2.npz", changes, tmp_path / str(number))
        assert not about.has_examples
        assert about.settings.items() >= changes.items()


@pytest.mark.usefixtures("no_program")
def test_a_smaller_buffer_and_a_fresh_optimizer_are_taken(ground: Path, tmp_path: Path) -> None:
    task = ground / "tasks" / "task-2.npz"
    continue_(ground / "replay", task, {"replay_buffer": 4, "epochs": 1}, tmp_path / "less")
    continue_(ground / "adam", task, {"optimizer": "sgd", "optimizer_state": "fresh"}, tmp_path / "sgd")
    assert read_manifest(tmp_path / "less").settings["replay_buffer"] == 4


@pytest.mark.usefixtures("no_program")
def test_settings_from_a_table_are_numpys(ground: Path, tmp_path: Path) -> None:
    given = {"epochs": np.int64(1), "lr": np.float32(0.5), "optimizer": np.str_("sgd")}
    model = cfsweep.continue_(ground / "ewc", ground / "tasks" / "task-2.npz", tmp_path / "after", settings=given)
    assert (model.about.settings["epochs"], model.about.settings["lr"]) == (1, 0.5)
    assert model.about.settings["optimizer"] == "sgd"


def test_a_space_is_a_file_a_name_or_a_mapping(ground: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^space: a file, .* or a mapping is needed, but got list\."):
        cfsweep.continue_(ground / "ewc", ground / "tasks" / "task-2.npz", tmp_path / "after", space=["lr"])  # type: ignore[arg-type]


def test_what_is_no_bundle_to_go_on_with(ground: Path, tmp_path: Path) -> None:
    assert "no model.json there" in refused(ground, tmp_path, "tasks")
    shutil.copytree(ground / "ewc", tmp_path / "other")
    about = json.loads((tmp_path / "other" / "model.json").read_text())

    def with_changes(**changes: Any) -> str:
        (tmp_path / "other" / "model.json").write_text(json.dumps({**about, **changes}))
        return refused(ground, tmp_path, str(tmp_path / "other"))

    assert "`joint` needs the data of all tasks again" in with_changes(joint=True)
    assert "is another one than was trained" in with_changes(network={"name": "mlp", "args": {"hidden": [3]}})
    assert "float32 is too coarse" in with_changes(
        data_sha256={**about["data_sha256"], "columns standardised in float64": "0" * 64}
    )
    assert "`cut` is wrong" in with_changes(cut=None)
    settings, where = about["settings"], tmp_path / "other" / "model.json"
    assert with_changes(settings={name: settings[name] for name in settings if name != "batch_size"}) == (
        f"{where}: `settings.batch_size` is missing. Export the model again."
    )
    assert with_changes(settings={**settings, "momentum": "\x1b"}).startswith(
        f"{where}: settings: `0 <= momentum < 1` must hold, but got momentum='\\x1b'. The default is 0.9: "
    )
    assert "`1 <= batch_size, a whole number` must hold" in with_changes(settings={**settings, "batch_size": -(2**63)})
    assert "`optimizer` must be one of sgd, adam, adamw, but got" in with_changes(
        settings={**settings, "optimizer": "0.1.0"}
    )

    def with_classes(*classes: float) -> str:
        return with_changes(tasks=[{**about["tasks"][0], "classes": classes}, *about["tasks"][1:]])

    for beyond in (1e12, -1):
        assert f"has class {int(beyond)}, where classes are numbered from 0 to {2**20 - 1}. Export" in with_classes(
            beyond
        )
    assert "has a class twice. Export the model again." in with_classes(0, 0)


@pytest.mark.usefixtures("no_program")
def test_the_command_line(ground: Path, tmp_path: Path, run: Run) -> None:
    task = ground / "tasks" / "task-2.npz"
    code, out, complaints = run("continue", ground / "ewc", "--task", task, "--to", "after", "--set", "lr=0.02")
    assert (code, complaints) == (0, "")
    about = read_manifest(tmp_path / "after")
    validation, test = (about.scores[part][-1][-1] for part in ("validation", "test"))
    assert out == (f"task `task-2`: accuracy {validation:.4f} on validation data, {test:.4f} on test data; in after\n")
    assert about.settings["lr"] == 0.02
    code, out, complaints = run("continue", ground / "ewc", "--task", task, "--to", "after")
    assert (code, out, complaints) == (
        2,
        "",
        "cfsweep: --to after: it exists. Choose another folder, or remove it.\n",
    )
    assert run("continue", ground / "ewc", "--task", task, "--to", "b", "--set", "lr")[2] == (
        "cfsweep: --set lr: `key=value` is needed, such as `--set lr=0.001`.\n"
    )
    assert not (tmp_path / "b").exists()
