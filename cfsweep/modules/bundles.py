"""The next task of a bundle in a training loop of one's own, from what the bundle has kept to the bundle after it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cfsweep.bundle.cold import begin_cold, needed
from cfsweep.bundle.continued import opened, score_on, written_after
from cfsweep.bundle.manifest import Manifest
from cfsweep.bundle.places import delivered, fetched
from cfsweep.errors import InputError, few
from cfsweep.hypers import Value
from cfsweep.modules._found import found_again
from cfsweep.modules._kept import different, opened_for
from cfsweep.modules._model import OneModel
from cfsweep.modules._penalty import QuadraticPenalty
from cfsweep.modules.buffer import ReservoirBuffer
from cfsweep.modules.distillation import DistillationLoss
from cfsweep.modules.packnet import PackNetMasks
from cfsweep.training.engine.layout import tensors_of
from cfsweep.training.engine.named_state import from_named, to_named
from cfsweep.training.pack import Pack

WHERE = "save_bundle"
Module = QuadraticPenalty | PackNetMasks | DistillationLoss | ReservoirBuffer


class NextTask(NamedTuple):
    """What `cfsweep continue` would begin a bundle's next task with: the `network` with the bundle's weights and, where
    the task has new classes, outputs for them; and the task's training examples, cut as those of the tasks before: x
    (n, *input_shape) as the network sees them, their outputs y (n,), and the outputs `active` (n_outputs,) bool."""

    network: nn.Module
    x: Tensor
    y: Tensor
    active: Tensor


def open_bundle(bundle: str | Path, task: str | Path) -> NextTask:
    """The beginning of the next task of `bundle`, that in the file or folder of parts `task`. Nothing is written.

    Raises:
        InputError: there is no bundle, it cannot go on, or the task does not fit it.
    """
    with fetched(bundle) as here:
        pack = opened(here).own_pack(Path(task), {})
    context, new = pack.context, pack.next_task
    train = torch.from_numpy(pack.stream.tasks[new].train)
    outputs = context.outputs
    return NextTask(_network_of(pack), context.store[train], outputs.labels[train], outputs.masks[new, new])


def save_bundle(
    model: nn.Module, modules: Sequence[Module], bundle: str | Path, to: str | Path, task: str | Path
) -> Manifest:
    """Writes the bundle of `model`, which is that of `bundle` after one more task, into the new folder `to`, as
    `cfsweep continue` does: with all that the `modules` have kept for the next one.

    `task` is the file or folder of parts whose training examples were trained on. The modules stand for the bundle's
    remedies, each after its `load_bundle` and the end of the task; a remedy that keeps nothing needs none. Their
    settings are noted in the bundle, those of the loop are not known: they stay as they were. Nor is the state of its
    optimizer, so that the next task begins with a fresh one. What `SIPenalty` has made importance by its damping stays
    so.

    Raises:
        InputError: the bundle cannot go on with the task, the model is another one or its weights are not finite, a
            remedy has no module or a module no remedy, a module has not ended the task, a buffer has other examples, or
            `to` exists.
    """
    changes: dict[str, Value] = {}
    for module in modules:
        changes |= {name: module.values[name] for name in module.arguments.values()}

    def take(pack: Pack) -> None:
        _require_modules(pack, model, modules)
        _require_model(pack, model, start)
        _take_model(pack, model)
        buffers = [module for module in modules if isinstance(module, ReservoirBuffer)]
        found = {module.kind.name: [found_again(pack, module, start)] for module in buffers}
        pack.next_task += 1
        begin_cold(pack)  # what remedies without a module keep, that is weights
        for module in modules:
            _take_state(pack, module)
        pack.stack.buffers |= found
        pack.stack.optimizer, pack.stack.optimizer_steps = {}, 0
        for part in pack.spec.parts:
            row = [score_on(pack, number, part) for number in range(pack.next_task)]
            getattr(pack.records[0], part).append(row)

    with fetched(bundle) as start, delivered(to) as here:
        for module in modules:
            opened_for(module.remedy, start)
        return written_after(take, start, Path(task), changes, here)


# ------------------------------------------------------------------------------------------------ what is taken


def _network_of(pack: Pack) -> nn.Module:
    network = deepcopy(pack.context.lifted.module)
    with torch.no_grad():
        for name, value in pack.context.layout.unflatten(pack.stack.theta[0]).items():
            network.get_parameter(name).copy_(value)
    return network.train()


def _take_model(pack: Pack, model: nn.Module) -> None:
    """Gives the pack's only run the weights and statistics of `model`, which has the same names and shapes."""
    context = pack.context
    by_name = {name: value.detach().to(context.device) for name, value in tensors_of(model).items()}
    pack.stack.theta = context.layout.flatten(by_name).unsqueeze(0)
    own = tensors_of(context.lifted.module)
    with torch.no_grad():
        for name in own.keys() - {entry.name for entry in context.layout.entries}:
            own[name].copy_(by_name[name])


def _take_state(pack: Pack, module: Module) -> None:
    """Gives the pack what the module has kept for each weight; a buffer and a distillation have nothing of it."""
    if not isinstance(module, QuadraticPenalty | PackNetMasks):
        return
    (ingredient,) = (each for each in pack.context.ingredients if isinstance(each, module.kind))
    state = from_named(pack.context.layout, to_named(module.one.layout, module.state))
    pack.stack.set_state(ingredient, {k: v.detach().to(pack.context.device).unsqueeze(0) for k, v in state.items()})


# ------------------------------------------------------------------------------------------------ what is refused


def _require_modules(pack: Pack, model: nn.Module, modules: Sequence[Module]) -> None:
    """
    Raises:
        InputError: a remedy that keeps something has no module, or two; or a module is of another model, or has not
            ended as many tasks as the bundle will have.
    """
    values, n_tasks = pack.spec.runs[0].values, pack.next_task + 1
    for kind in pack.context.kinds:
        n = sum(module.kind is kind for module in modules)
        what = needed(kind)
        if n > 1 or (n == 0 and what is not None and not kind.is_off(values)):
            raise InputError(
                f"{WHERE}: the bundle's `{kind.name}` needs one module, for {what or 'the weights'}, but got {n}. Give "
                "the one that was in the loop."
            )
    for module in modules:
        if not isinstance(module, ReservoirBuffer) and module.one.model is not model:
            raise InputError(
                f"{module.where}: it must be of the model that is saved, but is of another one. Give that."
            )
        if module.tasks_ended != n_tasks:
            raise InputError(
                f"{module.where}: it must have seen the end of {n_tasks} tasks, those of the bundle and this one, but "
                f"has of {module.tasks_ended}. Call `load_bundle` before the task, and once after it `consolidate`, "
                "`remember` or `add_task`."
            )


def _require_model(pack: Pack, model: nn.Module, bundle: Path) -> None:
    """
    Raises:
        InputError: the model has not the network's parameters and statistics, or some are not finite.
    """
    n_outputs, given = pack.context.outputs.n_outputs, OneModel(model, WHERE).n_outputs
    begin = "Train that of `open_bundle(bundle, task)`."
    if given != n_outputs:
        raise InputError(
            f"{WHERE}: the model must have {n_outputs} outputs, those of {bundle} and of new classes, but has {given}. "
            f"{begin}"
        )
    if others := different(pack.context.lifted.module, model, grows=False):
        raise InputError(
            f"{WHERE}: the model must have the parameters and statistics of the network of {bundle}, but it differs in "
            f"{few(others)}. {begin}"
        )
    for name, value in model.state_dict().items():
        if not bool(value.isfinite().all()):
            raise InputError(f"{WHERE}: all weights must be finite, but those of `{name}` are not. Lower the rate.")
