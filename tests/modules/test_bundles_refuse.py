"""What cannot come from a bundle or go into one is one line, and nothing is half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cfsweep.bundle import load
from cfsweep.bundle.continued import opened
from cfsweep.bundle.manifest import STATE
from cfsweep.errors import InputError
from cfsweep.modules import (
    DistillationLoss,
    EWCPenalty,
    L2SPPenalty,
    MASPenalty,
    NextTask,
    PackNetMasks,
    ReservoirBuffer,
    SIPenalty,
    open_bundle,
    save_bundle,
)
from cfsweep.modules._saved import Saved
from cfsweep.modules.bundles import Module
from cfsweep.testing.packs import UNLIFTABLE
from tests.bundle.test_continued import bundle_of, write_tasks
from tests.conftest import without_program

pytestmark = pytest.mark.usefixtures("no_program")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks, and bundles of runs over the first two; in `own` no two tasks share a class."""
    root = tmp_path_factory.mktemp("ground")
    for folder, distinct in (("tasks", False), ("own", True)):
        write_tasks(root / folder, 3, distinct)
        write_tasks(root / f"{folder}-first", 2, distinct)
    with pytest.MonkeyPatch.context() as patch:
        without_program(patch)
        for name in ("ewc", "mas", "si", "replay"):
            bundle_of(root / "tasks-first", root / name, name)
        bundle_of(root / "tasks-first", root / "off", "ewc", ewc_lambda=0.0)
        bundle_of(root / "tasks-first", root / "naive", None)
        bundle_of(root / "tasks-first", root / "replay-bare", "replay", with_examples=False)
        bundle_of(root / "own-first", root / "balanced", "replay", replay_mode="class-balanced")
        for name in ("packnet", "lwf"):
            bundle_of(root / "own-first", root / name, name, scenario="task-il")
    for name in ("ewc", "mas", "si"):
        shutil.copytree(root / name, root / f"{name}-cold", ignore=lambda _folder, names: {STATE} & {*names})
    return root


def begun(ground: Path, bundle: str = "ewc", tasks: str = "tasks") -> NextTask:
    return open_bundle(ground / bundle, ground / tasks / "task-2.npz")


def not_loaded(module: Saved, bundle: Path) -> str:
    """What is said; the module is as it was before."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(InputError) as caught:
        module.load_bundle(bundle)
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def not_saved(ground: Path, to: Path, model: nn.Module, modules: list[Module], bundle: str = "ewc") -> str:
    """What is said; nothing is written."""
    tasks = "own" if bundle in ("packnet", "lwf", "balanced") else "tasks"
    with pytest.raises(InputError) as caught:
        save_bundle(model, modules, ground / bundle, to / "after", ground / tasks / "task-2.npz")
    assert not list(to.glob("*after*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ out of a bundle


def test_a_bundle_that_was_not_trained_with_the_remedy(ground: Path) -> None:
    network = begun(ground).network
    assert not_loaded(MASPenalty(network), ground / "ewc") == (
        f"MASPenalty: the bundle must have been trained with `mas`, but {ground / 'ewc'} was with ewc. Give another "
        "bundle, or begin without."
    )
    for bundle in ("off", "naive"):
        assert f"`ewc`, but {ground / bundle} was with no remedy." in not_loaded(EWCPenalty(network), ground / bundle)
    assert "no model.json there, so it is no bundle" in not_loaded(EWCPenalty(network), ground / "tasks")


@pytest.mark.parametrize(("name", "kind"), [("ewc", EWCPenalty), ("mas", MASPenalty), ("si", SIPenalty)])
def test_a_bundle_without_what_the_remedy_has_kept(name: str, kind: type[Saved], ground: Path) -> None:
    module = kind(begun(ground, name).network)  # type: ignore[arg-type]
    said = not_loaded(module, ground / f"{name}-cold")
    assert said.startswith(f"{kind.__name__}: {ground / name}-cold has no state.safetensors, and so not what it has ")
    assert said.endswith(". Bring the file back.")


def test_a_bundle_without_examples(ground: Path) -> None:
    assert not_loaded(ReservoirBuffer(9), ground / "replay-bare") == (
        f"ReservoirBuffer: the examples that `replay` has kept are not in {ground / 'replay-bare'}. Export it again "
        "without `--without-data`."
    )


@pytest.mark.parametrize(
    ("bundle", "make", "said"),
    [
        ("ewc", lambda model: EWCPenalty(model, mode="online"), "mode=separate` must hold, as in {}, but got mode=onl"),
        ("ewc", lambda model: EWCPenalty(model, fisher="empirical"), "fisher=true` must hold, as in {}, but got fish"),
        ("si", lambda model: SIPenalty(model, cut="none"), "cut=zero` must hold, as in {}, but got cut=none. Give the"),
        ("replay", lambda model: ReservoirBuffer(9, mode="class-balanced"), "mode=reservoir` must hold, as in {}, but"),
        ("replay", lambda model: ReservoirBuffer(8), "size=9` must hold, as in {}, but got size=8. Give the same."),
        ("lwf", lambda model: DistillationLoss(model, classes="old"), "classes=seen` must hold, as in {}, but got cla"),
        ("lwf", lambda model: DistillationLoss(model, scenario="class-il"), "scenario=task-il` must hold, as in {}, "),
        (
            "packnet",
            lambda model: PackNetMasks(model, [0, 0, 1, 1, 2, 2], schedule="equal"),
            "schedule=constant` must hold, as in {}, but got schedule=equal. Give the same.",
        ),
        (
            "packnet",
            lambda model: PackNetMasks(model, [0, 1, 0, 1, 2, 2]),
            "output_tasks[:4]=[0, 0, 1, 1]` must hold, as in {}, but got output_tasks[:4]=[0, 1, 0, 1]. Give the same.",
        ),
    ],
)
def test_choices_that_what_was_kept_does_not_mean(
    bundle: str, make: Callable[[nn.Module], Saved], said: str, ground: Path
) -> None:
    tasks = "own" if bundle in ("packnet", "lwf") else "tasks"
    module = make(begun(ground, bundle, tasks).network)
    assert f"{type(module).__name__}: `{said.format(ground / bundle)}" in not_loaded(module, ground / bundle)


def test_a_balanced_buffer_where_an_output_is_no_class(ground: Path) -> None:
    said = not_loaded(ReservoirBuffer(9, mode="class-balanced"), ground / "balanced")
    assert said.startswith("ReservoirBuffer: class-balanced goes by labels, but here two classes are one output")


def narrower(model: nn.Module) -> nn.Module:
    model.body[3], model.head = nn.Linear(12, 8), nn.Linear(8, 2)  # type: ignore[index, operator]
    return model


def frozen(model: nn.Module) -> nn.Module:
    model.get_parameter("body.1.weight").requires_grad_(False)
    return model


def with_statistics(model: nn.Module) -> nn.Module:
    model.register_buffer("mean", torch.zeros(1))
    return model


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (narrower, "body.3.bias, body.3.weight, head.weight"),
        (nn.Module.double, "body.1.bias, body.1.weight, body.3.bias, body.3.weight, head.bias and 1 more"),
        (frozen, "body.1.weight"),
        (with_statistics, "mean"),
    ],
)
def test_a_model_of_another_network(
    change: Callable[[nn.Module], nn.Module], named: str, ground: Path, tmp_path: Path
) -> None:
    model = change(begun(ground).network)
    assert not_loaded(EWCPenalty(model), ground / "ewc") == (
        f"EWCPenalty: the model must have the parameters and statistics of the network of {ground / 'ewc'}, but it "
        f"differs in {named}. Take that of `open_bundle`, or `cfsweep.load(bundle).network()`."
    )
    ewc = EWCPenalty(model)
    ewc.tasks_ended = 3
    assert not_saved(ground, tmp_path, model, [ewc]) == (
        f"save_bundle: the model must have the parameters and statistics of the network of {ground / 'ewc'}, but it "
        f"differs in {named}. Train that of `open_bundle(bundle, task)`."
    )


# ------------------------------------------------------------------------------------------------ into a bundle


def ended(ground: Path) -> tuple[nn.Module, EWCPenalty]:
    """A model and its penalty after a task."""
    network, x, y, active = begun(ground)
    ewc = EWCPenalty(network)
    ewc.load_bundle(ground / "ewc")
    ewc.consolidate((x, y), active)
    return network, ewc


def test_a_remedy_has_one_module_and_a_module_a_remedy(ground: Path, tmp_path: Path) -> None:
    network, ewc = ended(ground)
    for modules, n in (([], 0), ([ewc, ewc], 2)):
        assert not_saved(ground, tmp_path, network, [*modules]) == (
            "save_bundle: the bundle's `ewc` needs one module, for what it has measured on the examples of each task, "
            f"but got {n}. Give the one that was in the loop."
        )
    said = not_saved(ground, tmp_path, network, [ewc, L2SPPenalty(network)])
    assert said.startswith("L2SPPenalty: the bundle must have been trained with `l2-sp`, but ")
    assert not_saved(ground, tmp_path, begun(ground).network, [ewc]) == (
        "EWCPenalty: it must be of the model that is saved, but is of another one. Give that."
    )


def test_a_module_has_ended_the_task_and_those_before(ground: Path, tmp_path: Path) -> None:
    network, x, y, active = begun(ground)
    ewc = EWCPenalty(network)
    ewc.consolidate((x, y), active)
    assert not_saved(ground, tmp_path, network, [ewc]) == (
        "EWCPenalty: it must have seen the end of 3 tasks, those of the bundle and this one, but has of 1. Call "
        "`load_bundle` before the task, and once after it `consolidate`, `remember` or `add_task`."
    )
    ewc.load_bundle(ground / "ewc")
    assert "but has of 2. Call" in not_saved(ground, tmp_path, network, [ewc])
    lwf = DistillationLoss(open_bundle(ground / "lwf", ground / "own" / "task-2.npz").network)
    lwf.load_bundle(ground / "lwf")
    assert "but has of 2. Call" in not_saved(ground, tmp_path, lwf.one.model, [lwf], "lwf")


def test_outputs_for_new_classes(ground: Path, tmp_path: Path) -> None:
    model = load(ground / "lwf").network()
    lwf = DistillationLoss(model)
    lwf.load_bundle(ground / "lwf")
    lwf.remember()
    assert not_saved(ground, tmp_path, model, [lwf], "lwf") == (
        f"save_bundle: the model must have 6 outputs, those of {ground / 'lwf'} and of new classes, but has 4. Train "
        "that of `open_bundle(bundle, task)`."
    )


def test_weights_that_are_not_finite(ground: Path, tmp_path: Path) -> None:
    network, ewc = ended(ground)
    nn.init.constant_(network.get_parameter("body.3.bias"), torch.nan)
    assert not_saved(ground, tmp_path, network, [ewc]) == (
        "save_bundle: all weights must be finite, but those of `body.3.bias` are not. Lower the rate."
    )


def test_new_outputs_that_are_held_still(ground: Path) -> None:
    """More rows are what the bundle's weights have become only where they are trained as those."""
    network = begun(ground, "lwf", "own").network
    lwf = DistillationLoss(network)
    network.get_parameter("head.bias").requires_grad_(False)
    assert "differs in head.bias. Take that of" in not_loaded(lwf, ground / "lwf")


def test_statistics_that_are_not_finite(ground: Path, tmp_path: Path) -> None:
    task = ground / "tasks" / "task-2.npz"
    bundle_of(ground / "tasks-first", tmp_path / "begun", None, UNLIFTABLE, batch_size=6)
    network = open_bundle(tmp_path / "begun", task).network
    nn.init.constant_(network.get_buffer("2.running_mean"), torch.nan)
    with pytest.raises(InputError, match=r"all weights must be finite, but those of `2\.running_mean` are not"):
        save_bundle(network, [], tmp_path / "begun", tmp_path / "after", task)
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_validation_examples_are_no_examples_of_a_buffer(ground: Path, tmp_path: Path) -> None:
    """They would score the tasks to come, and be trained on."""
    pack = opened(ground / "replay").own_pack(ground / "tasks" / "task-2.npz", {})
    unseen = torch.from_numpy(pack.stream.tasks[2].validation)
    buffer = ReservoirBuffer(9)
    buffer.load_bundle(ground / "replay")
    buffer.add_task(pack.context.store[unseen].repeat(9, 1), pack.context.outputs.labels[unseen].repeat(9))
    said = not_saved(ground, tmp_path, begun(ground, "replay").network, [buffer], "replay")
    assert "nor among the training examples of" in said


@pytest.mark.parametrize("change", [torch.Tensor.double, lambda value: value[:-1], None])
def test_what_was_kept_by_another_version(
    change: Callable[[torch.Tensor], torch.Tensor] | None, ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = opened(ground / "mas")
    entries = {name for name in start.state if name.startswith("mas/state/")}
    state = {name: value for name, value in start.state.items() if name not in entries}
    if change is not None:
        state |= {name: change(start.state[name]) for name in entries}
    monkeypatch.setattr("cfsweep.modules._kept.opened", lambda folder: replace(start, state=state))
    said = not_loaded(MASPenalty(begun(ground, "mas").network), ground / "mas")
    assert said.startswith(f"MASPenalty: what {ground / 'mas'} has kept as `")
    assert said.endswith("` is of another version. Export it again.")


def test_another_target(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = opened(ground / "ewc")
    other = replace(start, about=start.about.model_copy(update={"target": "own"}))
    monkeypatch.setattr("cfsweep.modules._kept.opened", lambda folder: other)
    assert not_loaded(EWCPenalty(begun(ground).network), ground / "ewc") == (
        f"EWCPenalty: the target must be classification, but {ground / 'ewc'} has own."
    )


def test_examples_of_a_buffer_that_are_nowhere(ground: Path, tmp_path: Path) -> None:
    network, x, y, _ = begun(ground, "replay")

    def said(x: torch.Tensor, y: torch.Tensor) -> str:
        buffer = ReservoirBuffer(9)
        buffer.load_bundle(ground / "replay")
        buffer.add_task(x, y)
        return not_saved(ground, tmp_path, network, [buffer], "replay")

    for strange in ((x + 1, y), (x, 1 - y), (x.repeat(9, 1), y.repeat(9))):
        found = said(*strange)
        assert found.startswith("ReservoirBuffer: ")
        assert f" of its 9 examples are neither kept in {ground / 'replay'} nor among the training examples of" in found


def test_whatever_continue_refuses(ground: Path, tmp_path: Path) -> None:
    network, ewc = ended(ground)
    (tmp_path / "there").mkdir()
    task = ground / "tasks" / "task-2.npz"
    for to, given, said in (
        ("there", task, "it exists"),
        ("after", ground / "tasks" / "task-1.npz", "learned it alre"),
    ):
        with pytest.raises(InputError, match=said):
            save_bundle(network, [ewc], ground / "ewc", tmp_path / to, given)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())
