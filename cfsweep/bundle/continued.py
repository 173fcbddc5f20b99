"""The next task: a bundle's model goes on learning, with all that its remedies keep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from cfsweep.bundle.cold import begin_cold, needed, refuse_cold
from cfsweep.bundle.grown import Grown, with_more_rows
from cfsweep.bundle.manifest import NAME, STATE, Manifest, read_manifest
from cfsweep.bundle.model import load_weights
from cfsweep.bundle.next_task import PLACE, going_on, next_task, places_of
from cfsweep.bundle.writer import ANSWERS, STEERING, WEIGHTS, Origin, refuse_existing, write_of
from cfsweep.errors import InputError, unknown
from cfsweep.files import git_revision
from cfsweep.hypers import Value
from cfsweep.training.ingredients import (
    Buffered,
    BufferedOnline,
    Ingredient,
    State,
    StopRule,
    hypers_of,
    ingredient_class,
)
from cfsweep.training.pack import Pack
from cfsweep.training.pack_context import built_network
from cfsweep.training.spec import PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream

Tensors = Mapping[str, Tensor]


def continue_(bundle: Path, task: Path, changes: Mapping[str, Value], to: Path) -> Manifest:
    """Writes the bundle of the model in `bundle` after one more task, that in the file or folder of parts `task`, into
    the new folder `to`. `changes` are other settings for this task.

    Where the outputs stay, it is to the last bit the model of a run that had this task in its stream from the
    beginning, if that stream standardised its examples alike, and if no remedy goes by the number of tasks (the shares
    of `a-gem-online`'s buffer do, and `packnet` with packnet_schedule=equal). New classes in task-il and class-il get
    new outputs, with the weights that this other run would have drawn for them. It differs from that run then in the
    biases that outputs begin with, as these are drawn after the weights of all outputs, and in rounding, as products of
    other shapes round differently.

    Where the bundle lacks `state.safetensors`, the model goes on from its weights alone, with the remedies that can.
    Tasks before are not evaluated, as their examples are not at hand; the new one is, before and after.

    Raises:
        InputError: there is no bundle, the task does not fit it, a setting cannot be changed, what a remedy needs is
            not in the bundle, the run fails, or `to` exists.
    """
    refuse_existing(to)
    about = read_manifest(bundle)
    if about.joint:
        raise InputError(f"{bundle}: `joint` needs the data of all tasks again. Continue another model, or sweep anew.")
    settings = changed(about, changes)
    state = load_file(bundle / STATE) if (bundle / STATE).exists() else {}
    if not state:
        refuse_cold(map(ingredient_class, about.ingredients), settings, bundle)
    refuse_without_examples(about, settings, state, bundle)
    stream = going_on(about, state, load_file(bundle / ANSWERS), next_task(about, task))
    pack = rebuilt(about, settings, stream, load_file(bundle / WEIGHTS), state, bundle)
    if not state:
        begin_cold(pack)
    _train(pack, about)
    parent = hashlib.sha256((bundle / NAME).read_bytes()).hexdigest()
    origin = Origin(about.study_id, git_revision(Path(__file__).parent), about.purpose, about.cut, parent)
    return write_of(pack, origin, to)


# ------------------------------------------------------------------------------------------------ settings


def changed(about: Manifest, changes: Mapping[str, Value]) -> dict[str, Value]:
    """The settings of the next task.

    Raises:
        InputError: one is unknown or not legal; or it switches a remedy on that has kept nothing so far, or wants more
            of a buffer than it has kept.
    """
    hypers, settings = hypers_of(about.ingredients), dict(about.settings)
    for name, value in changes.items():
        if name not in hypers:
            raise unknown("--set", "setting", name, hypers)
        settings[name] = hypers[name].check(value, f"--set {name}")
    if settings["optimizer_state"] == "kept" and settings["optimizer"] != about.settings["optimizer"]:
        raise InputError(
            f"--set optimizer={settings['optimizer']}: the state that is kept is of {about.settings['optimizer']}. "
            "Leave it, or begin afresh, `--set optimizer_state=fresh`."
        )
    for kind in map(ingredient_class, about.ingredients):
        if kind.is_off(about.settings) and not kind.is_off(settings) and needed(kind) is not None:
            raise InputError(f"--set: `{kind.name}` was off, so it has kept nothing of the tasks before. Leave it off.")
        if issubclass(kind, Buffered | BufferedOnline):
            _refuse_more(kind, about.settings, settings)
    return settings


def _refuse_more(kind: type[Ingredient], before: Mapping[str, Value], after: Mapping[str, Value]) -> None:
    """What a buffer has let go of cannot come back; as if it had been larger, it would hold the rest twice."""
    for hyper in kind.hypers:
        if hyper.kind == "int" and hyper.off == 0 and float(after[hyper.name]) > float(before[hyper.name]):
            raise InputError(
                f"--set {hyper.name}={after[hyper.name]}: `{hyper.name} <= {before[hyper.name]}` must hold, as a "
                "buffer cannot get back what it has let go of. Take less, or leave it as it is."
            )


# ------------------------------------------------------------------------------------------------ what is kept


def refuse_without_examples(about: Manifest, settings: Mapping[str, Value], state: Tensors, bundle: Path) -> None:
    """
    Raises:
        InputError: a remedy that is on needs examples which are not in the bundle.
    """
    missing = "but they are not in it. Export it again without `--without-data`."
    for kind in map(ingredient_class, about.ingredients):
        if kind.is_off(settings):
            continue
        n = int(state.get(f"{kind.name}/buffer/n", torch.tensor(0)))
        if n and f"{kind.name}/buffer{PLACE}" not in state:
            raise InputError(f"{bundle}: `{kind.name}` needs the {n} examples that it has kept, {missing}")
        if issubclass(kind, StopRule) and kind.looks_at_old and f"{STEERING}{PLACE}" not in state:
            raise InputError(f"{bundle}: `{kind.name}` needs the steering examples of all tasks so far, {missing}")


def rebuilt(
    about: Manifest, settings: dict[str, Value], stream: Stream, weights: Tensors, state: Tensors, bundle: Path
) -> Pack:
    """A pack of the bundle's run on `stream`, of which all tasks but the last one are done; without a `state` the
    ingredients are as at the beginning of a run.

    Raises:
        InputError: network or remedies are others than those at hand.
    """
    run = RunSpec(about.trial, about.seed, settings)
    parts, split = tuple(about.scores), about.cut.split
    spec = PackSpec(
        about.network, about.scenario, about.ingredients, (run,), split=split, parts=parts, keep_models=True
    )
    pack = Pack(spec, stream)
    context, stack = pack.context, pack.stack
    module = built_network(
        about.network, about.input_shape, about.n_outputs, context.kinds, context.hypers, context.settings
    )
    load_weights(module, weights, bundle, about)
    grown = Grown(module, about.n_outputs, context.lifted.module, context.outputs.n_outputs, f"network of {bundle}")
    _load_what_is_no_weight(context.lifted.module, weights, grown)
    theta = grown.old.flatten({name: value.detach() for name, value in module.named_parameters()})
    kept = settings["optimizer_state"] == "kept" and bool(state)
    stack.load_content(
        {
            "alive": [0],
            "row_of": [0],
            "theta": grown.vector(theta.unsqueeze(0), stack.theta),
            "states": {
                i.name: _state_of(i, stack.states[i.name], state, grown, bundle) if state else stack.states[i.name]
                for i in context.ingredients
            },
            "optimizer": _optimizer_of(state, grown) if kept else {},
            "optimizer_steps": int(state["optimizer_steps"]) if kept else 0,
            "buffers": {i.name: [_buffer_of(i, pack, state)] for i in context.ingredients},
            "representatives": [0],
        }
    )
    pack.next_task = stream.n_learned
    pack.records = [RunRecord(about.trial, about.seed)]
    return pack


def _load_what_is_no_weight(module: nn.Module, weights: Tensors, grown: Grown) -> None:
    """Statistics, and parameters that are held still; the others are in the pack's stack."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name in own.keys() - {entry.name for entry in grown.new.entries}:
            own[name].copy_(weights[name])


def _under(prefix: str, state: Tensors) -> State:
    """What the state holds under `prefix`, with a row dimension."""
    return {name.removeprefix(prefix): value.unsqueeze(0) for name, value in state.items() if name.startswith(prefix)}


def _optimizer_of(state: Tensors, grown: Grown) -> State:
    """What the optimizer keeps; nothing yet of the new outputs' weights."""
    saved = _under("optimizer/", state)
    return {name: grown.vector(value, value.new_zeros(1, grown.new.size)) for name, value in saved.items()}


def _state_of(ingredient: Ingredient, fresh: State, state: Tensors, grown: Grown, bundle: Path) -> State:
    """The ingredient's state as the bundle has it. What has a number for each weight, or a row for each task, gets
    those of new outputs and of the new task as they are in the `fresh` state of a run that begins."""
    saved, found = _under(f"{ingredient.name}/state/", state), {}
    for name, begun in fresh.items():
        value = saved.get(name)
        if value is None or value.dtype != begun.dtype or not _fits(value, begun, grown):
            raise InputError(
                f"{bundle}: what `{ingredient.name}` has kept as `{name}` does not fit it now, of another setting or "
                "version. Leave the setting as it was, or export the model again."
            )
        if value.shape == begun.shape:
            found[name] = value
        else:
            by_weight = value.shape[-1] != begun.shape[-1]
            found[name] = grown.vector(value, begun) if by_weight else with_more_rows(value, begun, 1)
    return found


def _fits(value: Tensor, begun: Tensor, grown: Grown) -> bool:
    """Whether `value` (1, ...) has the shape of `begun`, but for the weights of new outputs in the last dimension, or
    for rows of new tasks in the second."""
    by_weight = (value.shape[-1], begun.shape[-1]) == (grown.old.size, grown.new.size)
    by_task = value.dim() > 1 and value.shape[2:] == begun.shape[2:] and value.shape[1] < begun.shape[1]
    return value.shape == begun.shape or (by_weight and value.shape[:-1] == begun.shape[:-1]) or by_task


def _buffer_of(ingredient: Ingredient, pack: Pack, state: Tensors) -> list[Any]:
    """The ingredient's buffer, its examples by where they lie in the new store. No new output was active for one."""
    prefix = f"{ingredient.name}/buffer/"
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if "place" not in own:  # there never was any, or they were left out, and the ingredient is off now
        return [torch.empty(0, dtype=torch.int64), 0, None, None]
    indices = torch.from_numpy(np.searchsorted(places_of(state), own["place"].numpy()))
    logits, offered = own.get("logits"), own.get("offered_by_class")
    if logits is not None:
        logits = pad(logits, (0, pack.context.outputs.n_outputs - logits.shape[1]), value=-torch.inf)
    if offered is not None:
        offered = pad(offered, (0, max(0, pack.stream.n_classes - len(offered))))
    return [indices, int(own["offered"]), logits, offered]


# ------------------------------------------------------------------------------------------------ training


def _train(pack: Pack, about: Manifest) -> None:
    """Trains the last task; the record has the scores of before beside those of now.

    Raises:
        InputError: the run fails.
    """
    (record,), new = pack.records, pack.next_task
    for part, rows in about.scores.items():
        known = [[torch.nan if score is None else score for score in row] + [torch.nan] for row in rows]
        known[-1][-1] = _score(pack, new, part)
        getattr(record, part).extend(known)
    pack.train_next_task()
    if record.failure is not None:
        raise InputError(f"--task {pack.stream.tasks[new].name}: {record.failure}. Lower it, `--set lr=...`.")


def _score(pack: Pack, task: int, part: str) -> float:
    """How the model does on a task before it has learned it."""
    labels = pack.context.outputs.labels[torch.from_numpy(pack.stream.tasks[task].parts[part])]
    return float(pack.context.target.score.of(pack.predictions(task, part), labels))
