"""Weights that were trained elsewhere, as a bundle: it answers, can be gated, and goes on from its weights alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfsweep.errors import InputError
from cfsweep.library.repeatable import repeatable
from cfsweep.library.spaces import Space
from cfsweep.library.trainings import one_configuration, origin_here, values_of

if TYPE_CHECKING:
    from torch import Tensor

    from cfsweep.bundle import Manifest, Model
    from cfsweep.training.pack import Pack


def adopt(
    weights: str | Path | Mapping[str, Tensor],
    stream: str | Path,
    to: str | Path,
    space: Space | None = None,
    *,
    args: Mapping[str, Any] | None = None,
    ingredients: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    scenario: str | None = None,
    seed: int = 0,
    data: str | Path | None = None,
) -> Model:
    """A model that was trained elsewhere on the tasks of `stream`, written as a bundle into the new folder `to`.

    `weights` are a network's parameters and statistics by name: a `.safetensors` file, a file that `torch.save` wrote
    of a `state_dict`, or the `state_dict`. Which network they are of is said in the `space` or in `settings`
    (`network.name`, which may be `package.module:function`, and `network.args`); how it sees examples, by
    `stream.standardise`. `space`, `ingredients`, `settings`, `args`, `scenario` as for `cfsweep.train`: with these
    `cfsweep.continue_` goes on, with `seed`. It begins from the weights alone, so remedies that have kept something
    of the tasks before are refused. The model is scored on the validation and test data of all tasks.

    Raises:
        InputError: the weights are not those of the network, a remedy needs more than weights, anything else is wrong
            with what is asked for, or `to` exists.
    """
    from cfsweep.bundle import load

    adopted(
        weights,
        stream,
        to,
        space=space,
        ingredients=ingredients,
        settings=settings or {},
        scenario=scenario,
        seed=seed,
        data=data,
        args=args,
    )
    return load(to)


def adopted(
    weights: str | Path | Mapping[str, Tensor],
    stream: str | Path,
    to: str | Path,
    *,
    space: Space | None,
    ingredients: Sequence[str],
    settings: Iterable[str] | Mapping[str, Any],
    scenario: str | None,
    seed: int,
    data: str | Path | None,
    args: Mapping[str, Any] | None = None,
) -> Manifest:
    """What is known of the model that was written; everything as for `adopt`."""
    repeatable()
    from cfsweep.bundle import write_of
    from cfsweep.bundle.cold import refuse_cold
    from cfsweep.bundle.manifest import ADOPTED
    from cfsweep.bundle.places import delivered
    from cfsweep.sweeping.study import prepare
    from cfsweep.training.ingredients import ingredient_class
    from cfsweep.training.pack import Pack
    from cfsweep.training.spec import PackSpec, RunSpec

    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"adopt: `seed` must be a whole number from 0 on, but got {seed}. Give one.")
    config = one_configuration("adopt", stream, space, ingredients, settings, scenario, data, False, args=args)
    prepared = prepare(config, "adopt")
    config, network = prepared.config, prepared.config.space.network
    values = values_of(prepared, "adopt")
    kinds = map(ingredient_class, config.space.ingredients)
    refuse_cold(kinds, values, "adopt: weights are all that there is", "Leave it out")
    where, state = _read(weights)
    names, split = config.space.ingredients, config.stream.split_of(seed)
    run = RunSpec(0, seed, values)
    spec = PackSpec(network, config.stream.scenario, names, (run,), split=split, keep_models=True)
    with delivered(to) as here:
        pack = Pack(spec, prepared.stream.of_split(split))
        _take_weights(pack, state, where)
        return write_of(pack, origin_here(pack, config, ADOPTED), here, with_state=False)


def _read(weights: str | Path | Mapping[str, Tensor]) -> tuple[str, Mapping[str, Tensor]]:
    """Where the weights are from, and they.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    from cfsweep.training.networks import plain_tensors, read_weights

    if isinstance(weights, str | Path):
        return str(weights), read_weights(Path(weights), str(weights))[0]
    return "the weights", plain_tensors(weights, "the weights")


def _take_weights(pack: Pack, state: Mapping[str, Tensor], where: str) -> None:
    """Has the pack be where a run is after its last task, with these weights, and scores it.

    Raises:
        InputError: the weights are of another network, of another type, or not finite.
    """
    from cfsweep.bundle.continued import score_on
    from cfsweep.bundle.model import load_weights
    from cfsweep.training.networks import prefix_of

    context, name = pack.context, pack.spec.network.name
    module, n_tasks = context.lifted.module, len(pack.stream.tasks)
    remedy = f"Name the network that they are of, of {context.outputs.n_outputs} outputs, and its arguments"
    if (prefix := prefix_of(state)) is not None:
        remedy = f"Take `{prefix}` from the names"
    load_weights(module, state, f"{where}: they are not of network `{name}`", remedy)
    own = {key: value.detach() for key, value in module.named_parameters()}
    for key, value in own.items():
        if not state[key].is_floating_point() and value.is_floating_point():
            kind = str(state[key].dtype).removeprefix("torch.")
            raise InputError(f"{where}: `{key}` must hold floating-point numbers, but holds {kind}. Give another file.")
    pack.stack.theta = context.layout.flatten({entry.name: own[entry.name] for entry in context.layout.entries})[None]
    if not all(value.isfinite().all() for value in (*own.values(), *module.buffers())):
        raise InputError(f"{where}: every weight must be finite, but some are not. Give another file.")
    pack.next_task = n_tasks
    (record,) = pack.records
    for part in pack.spec.parts:
        rows = [[math.nan] * n_tasks for _ in range(n_tasks)]
        getattr(record, part).extend([*rows, [score_on(pack, task, part) for task in range(n_tasks)]])
