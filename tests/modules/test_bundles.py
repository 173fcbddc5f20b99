"""A loop of one's own between two bundles: what it writes is what `cfsweep continue` does, within rounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cfsweep.bundle import Manifest, continue_, load, read_manifest
from cfsweep.bundle.continued import opened
from cfsweep.bundle.manifest import STATE
from cfsweep.bundle.writer import ANSWERS, WEIGHTS
from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.modules import DistillationLoss, EWCPenalty, L2SPPenalty, ReservoirBuffer, open_bundle, save_bundle
from cfsweep.testing.packs import UNLIFTABLE
from cfsweep.training.spec import RunSpec
from tests.bundle.test_continued import FLAT, bundle_of, write_tasks
from tests.conftest import Run
from tests.modules import loops

pytestmark = pytest.mark.usefixtures("no_program")

SGD: dict[str, Value] = {"optimizer": "sgd", "lr": 0.05}
ROUNDING = 1e-6  # of weights near 1


class Own(nn.Linear):
    """A linear layer that is not torch's, whose weights lie in another order in a flat vector."""


def own_loop(
    loop: type[loops.Loop[Any]], bundle: Path, task: Path, to: Path, layer: type[nn.Linear] = nn.Linear, **given: Value
) -> Manifest:
    """The bundle after a textbook loop over the examples of the task, in the order in which a run would see them, with
    settings that were `given` in place of the bundle's."""
    about, begun = read_manifest(bundle), open_bundle(bundle, task)
    run = RunSpec(about.trial, about.seed, {**about.settings, **given})
    twin = loop(opened(bundle).stream(task), run, about.scenario, about.network)
    twin.network, new = begun.network, len(about.tasks)
    assert torch.equal(begun.x, twin.examples(twin.stream.tasks[new])[0])
    assert torch.equal(begun.y, twin.examples(twin.stream.tasks[new])[1])
    assert torch.equal(begun.active, twin.mask(new))
    for part in begun.network.modules():
        if type(part) is nn.Linear:
            part.__class__ = layer
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
CASES: list[tuple[type[loops.Loop[Any]], str, dict[str, Value], Scenario, bool]] = [
    (loop, name, given, scenario, distinct)
    for loop, name, given in TWINS
    for scenario, distinct in (("task-il", True), ("domain-il", False))
    if name != "packnet" or scenario == "task-il"
]
CASES += [(*TWINS[i], "class-il", True) for i in (1, 5, 6, 7)]  # all that was seen so far is active
CASES += [(*TWINS[i], "task-il", False) for i in (0, 5)]  # an output is of several tasks
CASES += [(*TWINS[i], "domain-il", True) for i in (2, 5, 7)]  # an output is a class's place within its task


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
    assert_alike(tmp_path / "own-on", tmp_path / "packed-on", 10 * ROUNDING)


def bundles_of(tmp_path: Path, name: str | None, distinct: bool = False, **given: Any) -> tuple[Path, Path]:
    """A bundle of a run over two tasks, and the file of a third one."""
    bundle_of(write_tasks(tmp_path / "some", 2, distinct), tmp_path / "begun", name, **given)
    return tmp_path / "begun", write_tasks(tmp_path / "all", 3, distinct) / "task-2.npz"


def test_numbers_may_be_others_and_are_noted(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "ewc")
    about = own_loop(loops.WithEWC, bundle, task, tmp_path / "own", ewc_lambda=7.0)
    continue_(bundle, task, {"ewc_lambda": 7.0}, tmp_path / "packed")
    assert about.settings["ewc_lambda"] == 7.0
    assert_alike(tmp_path / "own", tmp_path / "packed")


def test_the_bundles_may_lie_at_addresses(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "ewc")
    network, x, y, active = open_bundle(bundle.as_uri(), task)
    ewc = EWCPenalty(network)
    ewc.load_bundle(bundle.as_uri())
    ewc.consolidate((x, y), active)
    about = save_bundle(network, [ewc], bundle.as_uri(), (tmp_path / "there").as_uri(), task)
    assert read_manifest(tmp_path / "there") == about
    with pytest.raises(InputError, match=f"^--to {(tmp_path / 'there').as_uri()}: it exists"):
        save_bundle(network, [ewc], bundle.as_uri(), (tmp_path / "there").as_uri(), task)


def test_layers_of_ones_own_are_known_by_the_names_of_their_parameters(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "packnet", distinct=True, scenario="task-il")
    for layer in (nn.Linear, Own):
        own_loop(loops.WithPackNet, bundle, task, tmp_path / layer.__name__, layer)
    assert_alike(tmp_path / "Own", tmp_path / "Linear")


def steps(network: nn.Module, x: Tensor, y: Tensor) -> None:
    """A few of plain training."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()


def test_statistics_come_along_and_what_keeps_weights_alone_needs_no_module(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "l2-sp", network=UNLIFTABLE, batch_size=6)
    network, x, y, _ = open_bundle(bundle, task)
    before = load_file(bundle / WEIGHTS)
    assert before.keys() == network.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    steps(network, x, y)
    save_bundle(network, [], bundle, tmp_path / "own", task)
    after = load_file(tmp_path / "own" / WEIGHTS)
    assert all(torch.equal(value, after[name]) for name, value in network.state_dict().items())
    assert not torch.equal(after["2.running_mean"], before["2.running_mean"])
    l2_sp = L2SPPenalty(network)
    l2_sp.load_bundle(tmp_path / "own")
    assert torch.equal(l2_sp.state["anchor"], l2_sp.one.theta())


@pytest.mark.parametrize("name", ["l2-sp", "lwf"])
def test_what_needs_weights_alone_goes_on_without_the_state(name: str, tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, name, distinct=True, scenario="class-il")
    network, x, y, _ = open_bundle(bundle, task)
    module = L2SPPenalty(network) if name == "l2-sp" else DistillationLoss(network, scenario="class-il")
    module.load_bundle(bundle)
    warm = {entry: value.clone() for entry, value in module.state_dict().items()}
    (bundle / STATE).unlink()
    steps(network, x, y)  # what is loaded is the bundle's, not what the model has become
    module.load_bundle(bundle)
    head = f".{module.one.layout.head}."
    cold = {entry: value for entry, value in module.state_dict().items() if head not in entry}  # it has new outputs
    assert len(cold) > 3
    assert all(torch.equal(value, warm[entry]) for entry, value in cold.items())


def test_examples_that_are_there_twice_are_two(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "replay", replay_buffer=200)
    once = np.load(task)
    twice = {name: np.concatenate([once[name]] * (1 + name.endswith("train"))) for name in once}
    np.savez(tmp_path / "twice.npz", **twice)
    network, x, y, _ = open_bundle(bundle, tmp_path / "twice.npz")
    assert len(x.unique(dim=0)) < len(x)
    buffer = ReservoirBuffer(200)
    buffer.load_bundle(bundle)
    buffer.add_task(x, y)
    save_bundle(network, [buffer], bundle, tmp_path / "own", tmp_path / "twice.npz")
    state = load_file(tmp_path / "own" / STATE)
    assert len(state["replay/buffer/place"].unique()) == len(buffer) == buffer.offered
    assert torch.equal(load(bundle).seen(state["replay/buffer/x"]), buffer.x)
    assert torch.equal(state["replay/buffer/y"], buffer.y)


def test_where_the_optimizer_keeps_its_state_the_next_task_begins_with_a_fresh_one(tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, None, optimizer_state="kept")
    network, x, y, _ = open_bundle(bundle, task)
    steps(network, x, y)
    assert save_bundle(network, [], bundle, tmp_path / "own", task).settings["optimizer_state"] == "kept"
    assert load_file(tmp_path / "own" / STATE).keys() == {"optimizer_steps"}
    other = write_tasks(tmp_path / "further", 4) / "task-3.npz"
    continue_(tmp_path / "own", other, {}, tmp_path / "kept")
    continue_(tmp_path / "own", other, {"optimizer_state": "fresh"}, tmp_path / "fresh")
    kept, fresh = (load_file(tmp_path / which / WEIGHTS) for which in ("kept", "fresh"))
    assert all(torch.equal(value, fresh[name]) for name, value in kept.items())


def test_the_network_of_a_model_is_its_own_copy(tmp_path: Path) -> None:
    bundle, _ = bundles_of(tmp_path, None)
    model = load(bundle)
    x = 3 + torch.randn(5, FLAT, generator=torch.Generator().manual_seed(0))
    network, outputs = model.network(), model.outputs(x)
    torch.testing.assert_close(network(model.seen(x)), outputs)
    steps(network, model.seen(x), torch.zeros(5, dtype=torch.int64))
    assert torch.equal(model.outputs(x), outputs)
    with pytest.raises(InputError, match=r"examples must be \(n, 10\), but got \(5, 9\)"):
        model.seen(x[:, :9])


def test_the_gate_answers_as_for_what_continue_has_written(run: Run, tmp_path: Path) -> None:
    bundle, task = bundles_of(tmp_path, "ewc", ewc_lambda=30.0)
    own_loop(loops.WithEWC, bundle, task, tmp_path / "own")
    continue_(bundle, task, {}, tmp_path / "packed")
    said = []
    for each in ("own", "packed"):
        file = tmp_path / f"{each}.json"
        stream = ("--stream", task.parent, "--max-drop", "0.02", "--json", file)
        code, _, _ = run("gate", "--champion", bundle, "--candidate", tmp_path / each, *stream)
        said.append((code, json.loads(file.read_text())["tasks"]))
    assert said[0] == said[1]
    assert len(said[0][1]) == 3
