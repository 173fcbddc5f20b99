"""A loop of one's own between two bundles: what it writes is what `cfsweep continue` does, within rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cfsweep.bundle import Manifest, continue_, read_manifest
from cfsweep.bundle.continued import opened
from cfsweep.bundle.manifest import STATE
from cfsweep.bundle.writer import ANSWERS, WEIGHTS
from cfsweep.config import Scenario
from cfsweep.hypers import Value
from cfsweep.modules import open_bundle, save_bundle
from cfsweep.training.spec import RunSpec
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.modules import loops

pytestmark = pytest.mark.usefixtures("no_program")

SGD: dict[str, Value] = {"optimizer": "sgd", "lr": 0.05}
ROUNDING = 2e-5  # of weights near 1


def own_loop(loop: type[loops.Loop[Any]], bundle: Path, task: Path, to: Path, **changes: Value) -> Manifest:
    """The bundle after a textbook loop over the examples of the task, in the order in which a run would see them."""
    about, begun = read_manifest(bundle), open_bundle(bundle, task)
    run = RunSpec(about.trial, about.seed, {**about.settings, **changes})
    twin = loop(opened(bundle).stream(task), run, about.scenario, about.network)
    twin.network, new = begun.network, len(about.tasks)
    assert torch.equal(begun.x, twin.examples(twin.stream.tasks[new])[0])
    assert torch.equal(begun.y, twin.examples(twin.stream.tasks[new])[1])
    assert torch.equal(begun.active, twin.mask(new))
    twin.start()
    twin.module.load_bundle(bundle)
    twin.train_task(new)
    twin.end_task(new, twin.stream.tasks[new])
    return save_bundle(twin.network, [twin.module], bundle, to, task)


def kept(bundle: Path) -> dict[str, Tensor]:
    """All numbers of a bundle, by file and name. SI's path counts as the importance that it is about to become."""
    found = {f"{file}: {name}": v for file in (WEIGHTS, ANSWERS, STATE) for name, v in load_file(bundle / file).items()}
    si = f"{STATE}: si/state/"
    if f"{si}path" in found:
        settings = read_manifest(bundle).settings
        by_way = found[f"{si}path"] / (found[f"{si}moved"].square() + float(settings["si_damping"]))
        found[f"{si}importance"] = (found[f"{si}importance"] + by_way).clamp(min=0)
        found[f"{si}path"] = torch.zeros_like(by_way)
    return found


def assert_alike(one: Path, other: Path, atol: float = ROUNDING, rtol: float = 2e-3) -> None:
    """All numbers within rounding, `rtol` for what is no weight; what is counted or kept as it is exactly, and all that
    the manifests say of it."""
    mine, theirs = kept(one), kept(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        is_exact = not value.is_floating_point() or "/buffer/" in name
        near = {"rtol": 0.0, "atol": 0.0} if is_exact else {"rtol": rtol * name.startswith(STATE), "atol": atol}
        torch.testing.assert_close(value, theirs[name], **near, msg=lambda said, name=name: f"{name}: {said}")
    told = {"created_at", "files", "continues"}
    assert read_manifest(one).model_dump(exclude=told) == read_manifest(other).model_dump(exclude=told)


TWINS: list[tuple[type[loops.Loop[Any]], str, dict[str, Value]]] = [
    (loops.WithEWC, "ewc", {"ewc_lambda": 300.0}),
    (loops.WithEWC, "ewc", {"ewc_lambda": 30.0, "ewc_mode": "online", "ewc_fisher": "empirical", "ewc_gamma": 0.7}),
    (loops.WithMAS, "mas", {"mas_lambda": 3.0, **SGD}),
    (loops.WithSI, "si", {"si_c": 5.0, "si_damping": 0.1, **SGD}),
    (loops.WithL2SP, "l2-sp", {"l2_sp_lambda": 0.3, **SGD}),
    (loops.WithReplay, "replay", {"replay_buffer": 20, "replay_ratio": 0.4}),
    (loops.WithReplay, "replay", {"replay_buffer": 21, "replay_mode": "class-balanced"}),
    (loops.WithLwF, "lwf", {"lwf_alpha": 0.8, **SGD}),
    (loops.WithPackNet, "packnet", {"packnet_rate": 0.6}),
]
CASES = [
    (loop, name, given, scenario, distinct)
    for loop, name, given in TWINS
    for scenario, distinct in (("task-il", True), ("task-il", False), ("domain-il", False))
    if name != "packnet" or distinct
]


@pytest.mark.parametrize(
    ("loop", "name", "given", "scenario", "distinct"),
    CASES,
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_a_loop_of_ones_own_writes_is_what_continue_does(
    loop: type[loops.Loop[Any]],
    name: str,
    given: dict[str, Value],
    scenario: Scenario,
    distinct: bool,
    tmp_path: Path,
) -> None:
    """With outputs for new classes, too, where they are `distinct`; and both go on alike with a further task."""
    bundle_of(write_tasks(tmp_path / "some", 2, distinct), tmp_path / "begun", name, scenario=scenario, **given)
    tasks = write_tasks(tmp_path / "all", 4, distinct)
    own_loop(loop, tmp_path / "begun", tasks / "task-2.npz", tmp_path / "own")
    continue_(tmp_path / "begun", tasks / "task-2.npz", {}, tmp_path / "packed")
    assert_alike(tmp_path / "own", tmp_path / "packed")
    for each in ("own", "packed"):
        continue_(tmp_path / each, tasks / "task-3.npz", {}, tmp_path / f"{each}-on")
    assert_alike(tmp_path / "own-on", tmp_path / "packed-on", 10 * ROUNDING, 2e-2)
