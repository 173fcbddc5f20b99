"""A small stream, and packs on it that train in a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients import Ingredient, hypers_of, ingredient_class
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream, Task

SHAPE = (1, 6, 6)
MLP = NetworkConfig(name="mlp", args={"hidden": [12, 9]})
CNN = NetworkConfig(name="cnn", args={"hidden": 8})
UNLIFTABLE = NetworkConfig(name="cfsweep.testing.packs:unliftable")

_HAS_MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
# Whether matrix products round alike wherever their operands lie in memory, as they do on a sweep's workers.
EXACT = _HAS_MKL and os.environ.get("MKL_CBWR", "").endswith(",STRICT")

# Where a default is made for real streams.
SMALL: dict[str, Value] = {
    "epochs": 3,
    "batch_size": 5,
    "lr": 0.01,
    "ewc_examples": 7,
    "mas_examples": 7,
    "replay_buffer": 9,
    "er_ace_buffer": 9,
    "der_buffer": 9,
    "der_online_buffer": 9,
    "a_gem_buffer": 9,
    "icarl_budget": 13,
    "a_gem_online_buffer": 9,
    "gdumb_buffer": 9,
    "generative_epochs": 2,
    "generative_hidden": 8,
    "generative_latent": 3,
    "adapter_width": 3,
    "ranpac_projection": 30,
    "ranpac_ridge": 1.0,
    "patience": 1,
}
# What an author gives instead, while the checks of one ingredient run.
_given: dict[str, Value] = {}

SIX = 6  # runs of a pack, so that all that `varied_runs` varies is in it


def unliftable(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A network that vmap cannot lift: batch statistics and dropout."""
    n = int(np.prod(input_shape))
    layers = [nn.Linear(n, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, n_outputs)]
    return nn.Sequential(nn.Flatten(), *layers)


def small_stream(n_tasks: int = 3, n_classes: int = 2, n_train: int = 22, seed: int = 0) -> Stream:
    """Images (1, 6, 6) around one random point per class; `n_train` training examples per task, 8 of test, 6 of
    validation, 6 of steering."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_tasks * n_classes, *SHAPE))
    x, y, tasks, at = [], [], [], 0
    for number in range(n_tasks):
        classes = tuple(range(number * n_classes, (number + 1) * n_classes))
        n = n_train + 14
        labels = np.resize(classes, n)
        x.append(centres[labels] + rng.normal(size=(n, *SHAPE)))
        y.append(labels)
        train, validation, test = np.split(np.arange(at, at + n), [n_train, n_train + 6])
        tasks.append(Task(str(number), classes, train, validation, test))
        at += n
    for number, task in enumerate(tasks):
        labels = np.resize(task.classes, 6)
        x.append(centres[labels] + rng.normal(size=(6, *SHAPE)))
        y.append(labels)
        tasks[number] = replace(task, steering=np.arange(at, at + 6))
        at += 6
    images = torch.from_numpy(np.concatenate(x)).to(torch.float32)
    return Stream("small", images, torch.from_numpy(np.concatenate(y)), tuple(tasks), shift=0.1, scale=0.9)


def path_to(kind: type[Ingredient] | str) -> str:
    """What a space calls an ingredient: its name if it is built in, else its import path."""
    if isinstance(kind, str):
        return kind
    try:
        if ingredient_class(kind.name) is kind:
            return kind.name
    except InputError:
        pass
    return f"{kind.__module__}:{kind.__qualname__}"


@contextmanager
def defaults_instead(name: str, given: Mapping[str, Value]) -> Iterator[None]:
    """Where all packs have other defaults for hyperparameters of the ingredient `name`, or of any trial.

    Raises:
        InputError: there is no such hyperparameter, or it cannot have this value.
    """
    hypers = hypers_of((name,))
    for key, value in given.items():
        if key not in hypers:
            raise unknown("check_ingredient", "hyperparameter", key, hypers)
        hypers[key].check(value, f"check_ingredient: `{key}`")
    try:
        _given.update(given)
        _forget_packs()
        yield
    finally:
        _given.clear()
        _forget_packs()


def _forget_packs() -> None:
    for kept in (trained_once, stack_of_six, two_convolutions, unlifted):
        kept.cache_clear()


def values_of(ingredients: tuple[str, ...], **given: Value) -> dict[str, Value]:
    """All hyperparameters of a trial: small defaults, then `given`."""
    hypers = hypers_of(ingredients)
    small = {name: value for name, value in {**SMALL, **_given}.items() if name in hypers}
    return {**{name: hyper.default for name, hyper in hypers.items()}, **small, **given}


def make_pack(
    stream: Stream,
    ingredients: tuple[str, ...] = (),
    runs: tuple[RunSpec, ...] | None = None,
    scenario: Scenario | None = None,
    network: NetworkConfig = MLP,
    share_first_task: bool = True,
    joint: bool = False,
    curves: int = 0,
    **given: Value,
) -> Pack:
    """A pack of `runs`, or of one run of seed 0 with the values `given`; in task-il if the ingredients can."""
    runs = runs or (RunSpec(0, 0, values_of(ingredients, **given)),)
    spec = PackSpec(network, scenario or scenario_for(*ingredients), ingredients, runs, joint, curves)
    return Pack(spec, stream, share_first_task=share_first_task)


def scenario_for(*ingredients: str) -> Scenario:
    """The first scenario that all of them know; where there is none, or an ingredient is unknown, the first one."""
    try:
        known = [ingredient_class(name).scenarios for name in ingredients]
    except InputError:
        known = []
    return next((s for s in SCENARIOS if all(s in scenarios for scenarios in known)), SCENARIOS[0])


def finish(pack: Pack) -> Pack:
    """The pack, trained to its end."""
    while not pack.done:
        pack.train_next_task()
    return pack


@cache
def trained_once(names: tuple[str, ...], scenario: Scenario, **given: Any) -> Pack:
    """The pack of one run of seed 0 with the values `given` at its end: to be looked at, and not to be changed, as
    whoever asks for the same one gets this one."""
    return finish(make_pack(small_stream(), names, scenario=scenario, **given))


@cache
def stack_of_six(name: str) -> Pack:
    """A pack of different runs at their end, whose network is a stack of products; to be looked at as well."""
    return finish(make_pack(small_stream(), (name,), varied_runs((name,), SIX), network=MLP, curves=1))


@cache
def two_convolutions(name: str) -> Pack:
    """The same of a network that is called for one run after the other, which takes more time."""
    return finish(make_pack(small_stream(), (name,), varied_runs((name,), 2, epochs=1), network=CNN, curves=1))


@cache
def unlifted(name: str) -> Pack:
    """That of one run whose network answers otherwise while it trains; no batch is a lone example."""
    run = varied_runs((name,), 1, epochs=1, batch_size=6)
    return finish(make_pack(small_stream(), (name,), run, network=UNLIFTABLE, curves=1))


def refusal(names: tuple[str, ...], scenario: Scenario) -> str | None:
    """Why a pack with these ingredients cannot be made in a scenario, or None if it can."""
    try:
        make_pack(small_stream(), names, scenario=scenario)
    except InputError as error:
        return str(error)
    return None


def restored(pack: Pack) -> Pack:
    """The pack as one that is stored and restored now."""
    found = Pack.restore(pack.checkpoint(), pack.stream)
    assert found is not None
    return found


def weights(pack: Pack) -> Tensor:
    """(runs alive, P)."""
    return pack.stack.theta[torch.from_numpy(pack.stack.row_of)]


def outcome(record: RunRecord) -> dict[str, Any]:
    """All that a run found out, its time aside."""
    return {name: value for name, value in asdict(record).items() if name != "train_s"}


def outcomes(pack: Pack) -> list[dict[str, Any]]:
    """That of each run."""
    return [outcome(record) for record in pack.records]


def assert_same_outcome(one: Mapping[str, Any], other: Mapping[str, Any], said: str = "") -> None:
    """All that the two runs found out is equal; else the first thing that is not is named after `said`."""
    for name, value in one.items():
        assert value == other[name], f"{said}`{name}` of a run differs: {value} and {other[name]}"


def assert_same(one: Pack, other: Pack) -> None:
    """Bitwise the same weights, and the same records."""
    for mine, theirs in zip(outcomes(one), outcomes(other), strict=True):
        assert_same_outcome(mine, theirs)
    assert torch.equal(weights(one), weights(other)), f"the weights differ by up to {apart(one, other):.2g}"


def assert_same_content(one: Pack, other: Pack) -> None:
    """Bitwise the same in all that their next tasks begin with."""
    for mine, theirs in zip(*(tree_leaves(pack.stack.to_content()) for pack in (one, other)), strict=True):
        assert torch.equal(mine, theirs) if isinstance(mine, Tensor) else mine == theirs


def apart(one: Pack, other: Pack) -> float:
    """How far their weights are from each other."""
    return float((weights(one) - weights(other)).abs().max())


def assert_equal(one: Tensor, other: Tensor) -> None:
    """To the last bit, if matrix products round alike wherever their operands lie in memory; else nearly."""
    if EXACT:
        assert torch.equal(one, other)
    else:  # where rounding turns a ReLU over, Adam makes a whole step of it
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-2)


def off_values(kind: type[Ingredient]) -> list[dict[str, Any]]:
    """The settings that switch an ingredient off: each hyperparameter that has an `off`."""
    return [{hyper.name: _as(hyper, hyper.off)} for hyper in kind.hypers if hyper.off is not None]


def other_value(hyper: Hyper) -> dict[str, Any]:
    """A hyperparameter with another legal value than its default; nothing where none is found."""
    default, candidates = hyper.default, list[Value](hyper.choices)
    if isinstance(default, int | float):
        candidates = [_as(hyper, x) for x in (default / 2, default * 2, default + 1, hyper.low, hyper.high) if x]
    legal = [value for value in candidates if value != default and hyper.allows(value)]
    return dict.fromkeys([hyper.name], legal[0]) if legal else {}


def other_values(kind: type[Ingredient]) -> list[dict[str, Any]]:
    """The settings with another value for each hyperparameter of an ingredient, one at a time."""
    return [other_value(hyper) for hyper in kind.hypers]


def variants(kind: type[Ingredient]) -> list[dict[str, Any]]:
    """The defaults, and every other choice of each hyperparameter that is a choice."""
    others = [(h.name, c) for h in kind.hypers for c in h.choices if c != h.default]
    return [{}, *({name: choice} for name, choice in others)]


def varied_runs(names: tuple[str, ...], n: int, **given: Value) -> tuple[RunSpec, ...]:
    """`n` runs of two seeds that differ in learning rate and in every number of their ingredients; some are off."""

    def value(hyper: Hyper, k: int) -> Value:
        default = _given.get(hyper.name, hyper.default)
        assert isinstance(default, int | float)
        lowest = None if hyper.low_open else hyper.low
        chosen = (default, lowest, default / 2)[k % 3]
        return _as(hyper, default if chosen is None else chosen)

    runs = []
    for k in range(n):
        own = {h.name: value(h, k) for name in names for h in ingredient_class(name).hypers if not h.static}
        runs.append(RunSpec(k, k % 2, values_of(names, **{"lr": 0.01 * (1 + k // 4), **own, **given})))
    return tuple(runs)


def _as(hyper: Hyper, value: float) -> Value:
    return int(value) if hyper.kind == "int" else float(value)
