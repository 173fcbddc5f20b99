"""A start from the weights alone: what needs no more goes on as if all were there, the others say what they lack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cfsweep.bundle import continue_, load
from cfsweep.bundle.cold import needed
from cfsweep.bundle.manifest import STATE
from cfsweep.bundle.writer import ANSWERS, WEIGHTS
from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.testing.packs import scenario_for
from cfsweep.training.ingredients import registry
from tests.bundle.test_continued import bundle_of, write_tasks

pytestmark = pytest.mark.usefixtures("no_program")

# What can begin with weights; a new ingredient is to be put on one side or the other.
COLD = {"l2-sp", "lwf", "feature-distillation", "freeze"} | {"discriminative-lr", "cosine", "warmup", "early-stopping"}


def without_state(name: str, tmp_path: Path, scenario: Scenario) -> tuple[Path, Path]:
    """A bundle over two tasks, its copy without the state, and beside them a third task."""
    tasks = write_tasks(tmp_path / "tasks", 3, distinct=scenario != "domain-il")
    (tasks / "task-2.npz").rename(tmp_path / "task-2.npz")
    bundle_of(tasks, tmp_path / "warm", name, scenario=scenario)
    shutil.copytree(tmp_path / "warm", tmp_path / "cold", ignore=lambda _folder, names: {STATE} & {*names})
    return tmp_path / "warm", tmp_path / "cold"


def test_every_remedy_is_on_one_side() -> None:
    assert {name for name, kind in registry.items() if needed(kind) is None} == COLD


@pytest.mark.parametrize("scenario", ["domain-il", "class-il"])
@pytest.mark.parametrize("name", sorted(COLD))
def test_what_needs_weights_alone_goes_on_as_with_its_state(name: str, scenario: Scenario, tmp_path: Path) -> None:
    for bundle in without_state(name, tmp_path, scenario):
        continue_(bundle, tmp_path / "task-2.npz", {}, tmp_path / f"after-{bundle.name}")
    for file in (WEIGHTS, ANSWERS, STATE):
        warm, cold = (load_file(tmp_path / f"after-{which}" / file) for which in ("warm", "cold"))
        assert warm.keys() == cold.keys()
        assert all(torch.equal(value, cold[entry]) for entry, value in warm.items())


@pytest.mark.parametrize("name", sorted(registry.keys() - COLD))
def test_what_needs_more_says_so_and_is_switched_off(name: str, tmp_path: Path) -> None:
    kind = registry[name]
    _, cold = without_state(name, tmp_path, scenario_for(name))
    with pytest.raises(InputError) as caught:
        continue_(cold, tmp_path / "task-2.npz", {}, tmp_path / "after")
    assert str(caught.value).startswith(
        f"{cold}: state.safetensors is not there, so the model goes on from its weights alone, but `{name}` needs "
        f"{needed(kind)}. Bring the file back"
    )
    if name == "adapters":  # a setting that makes another network
        assert str(caught.value).endswith("Bring the file back.")
        return
    off = next(hyper for hyper in kind.hypers if hyper.off is not None and not hyper.static)
    assert str(caught.value).endswith(f"Bring the file back, or switch it off, `--set {off.name}={off.off:g}`.")
    continue_(cold, tmp_path / "task-2.npz", {off.name: off.off or 0.0}, tmp_path / "after")
    assert len(load(tmp_path / "after").about.tasks) == 3
