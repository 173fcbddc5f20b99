"""A bundle's run as a pack that can train its next task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from cfsweep.bundle.grown import Grown, with_more_rows
from cfsweep.bundle.manifest import Manifest
from cfsweep.bundle.model import BRING_BACK, another_network, load_weights
from cfsweep.bundle.next_task import places_of
from cfsweep.errors import InputError
from cfsweep.training.engine.layout import tensors_of
from cfsweep.training.engine.optimizers import STATE_NAMES
from cfsweep.training.ingredients import Ingredient, State
from cfsweep.training.pack import Pack
from cfsweep.training.pack_context import built_network
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream

Tensors = Mapping[str, Tensor]


def rebuilt(
    about: Manifest,
    runs: Sequence[RunSpec],
    stream: Stream,
    weights: Tensors,
    state: Tensors,
    bundle: Path,
    parts: tuple[str, ...],
) -> Pack:
    """A pack of `runs` that have all been the bundle's run so far, on `stream`, of which all tasks but the last one are
    done; without a `state` the ingredients are as at the beginning of a run. `parts` as in `PackSpec`.

    Raises:
        InputError: network or remedies are others than those at hand.
    """
    spec = PackSpec(
        about.network,
        about.scenario,
        about.ingredients,
        tuple(runs),
        split=about.cut.split,
        parts=parts,
        keep_models=True,
    )
    pack = Pack(spec, stream)
    stack, ingredients = pack.stack, pack.context.ingredients
    known, grown = _network(about, pack, weights, bundle)
    # Runs of one seed have all been the same so far; those of others differ in what new outputs begin with.
    seeds = list(dict.fromkeys(run.seed for run in runs))
    row_of = [seeds.index(run.seed) for run in runs]
    firsts = [row_of.index(row) for row in range(len(seeds))]
    begun = stack.row_of[firsts]
    theta = grown.vector(known.expand(len(seeds), -1), stack.theta[begun])
    fresh = {name: {entry: value[begun] for entry, value in of.items()} for name, of in stack.states.items()}
    states = {i.name: _state_of(i, fresh[i.name], state, grown, bundle) for i in ingredients} if state else fresh
    kept = runs[0].values["optimizer_state"] == "kept" and bool(state)
    stack.load_content(
        {
            "alive": list(range(len(runs))),
            "row_of": row_of,
            "theta": theta,
            "states": states,
            "optimizer": _optimizer_of(runs[0], state, grown, len(seeds), bundle) if kept else {},
            "optimizer_steps": int(state["optimizer_steps"]) if kept else 0,
            "buffers": {i.name: [_buffer_of(i, pack, state)] * len(seeds) for i in ingredients},
            "representatives": firsts,
        }
    )
    pack.next_task = stream.n_learned
    return pack


def _network(about: Manifest, pack: Pack, weights: Tensors, bundle: Path) -> tuple[Tensor, Grown]:
    """The bundle's weights (P_old,), and the way from them to those of the pack, whose network gets all that is no
    weight: statistics, and parameters that are held still.

    Raises:
        InputError: the network is another one, or cannot get outputs.
    """
    context = pack.context
    kinds, hypers, settings = context.kinds, context.hypers, context.settings
    old = built_network(about.network, about.input_shape, about.n_outputs, kinds, hypers, settings)
    load_weights(old, weights, another_network(bundle, about), BRING_BACK)
    module, n_outputs = context.lifted.module, context.outputs.n_outputs
    grown = Grown(old, about.n_outputs, module, n_outputs, f"network of {bundle}")
    own = tensors_of(module)
    with torch.no_grad():
        for name in own.keys() - {entry.name for entry in grown.new.entries}:
            own[name].copy_(weights[name])
    return grown.old.flatten({name: value.detach() for name, value in old.named_parameters()}), grown


def _under(prefix: str, state: Tensors, rows: int) -> State:
    """What the state holds under `prefix`, for so many rows."""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: value.repeat(rows, *[1] * value.dim()) for name, value in own.items()}


def _optimizer_of(run: RunSpec, state: Tensors, grown: Grown, rows: int, bundle: Path) -> State:
    """What the optimizer keeps; nothing yet of the new outputs' weights.

    Raises:
        InputError: it is of another optimizer or network.
    """
    saved, names = _under("optimizer/", state, rows), STATE_NAMES[str(run.values["optimizer"])]
    fits = all(value.shape == (rows, grown.old.size) and value.dtype == torch.float32 for value in saved.values())
    if saved and (saved.keys() != set(names) or not fits):  # none where it began afresh with each task
        raise InputError(
            f"{bundle}: what `{run.values['optimizer']}` has kept ({', '.join(sorted(saved))}) does not fit it. Begin "
            "afresh, `--set optimizer_state=fresh`, or export the model again."
        )
    return {name: grown.vector(value, value.new_zeros(rows, grown.new.size)) for name, value in saved.items()}


def _state_of(ingredient: Ingredient, fresh: State, state: Tensors, grown: Grown, bundle: Path) -> State:
    """The ingredient's state as the bundle has it. What has a number for each weight, or a row for each task, gets
    those of new outputs and of the new task as they are in the `fresh` state of a run that begins."""
    found: State = {}
    for name, begun in fresh.items():
        value = _under(f"{ingredient.name}/state/", state, len(begun)).get(name)
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
    """Whether `value` (rows, ...) has the shape of `begun`, but for the weights of new outputs in the last dimension,
    or for rows of new tasks in the second."""
    by_weight = (value.shape[-1], begun.shape[-1]) == (grown.old.size, grown.new.size)
    by_task = value.dim() > 2 and value.shape[2:] == begun.shape[2:] and value.shape[1] < begun.shape[1]
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
