"""What every ingredient must do. Subclass `IngredientConformance` and give it a fixture `kind`: the ingredient's name.

Also the small stream and the packs that the other tests of training use.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients import Answers, Batch, Ingredient, Sample, hypers_of, registry
from cfsweep.training.pack import Pack
from cfsweep.training.engine.randomness import generator
from cfsweep.training.spec import PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream, Task

SHAPE = (1, 6, 6)
MLP = NetworkConfig(name="mlp", args={"hidden": [12, 9]})
CNN = NetworkConfig(name="cnn", args={"hidden": 8})
EXACT = torch.backends.mkl.is_available() and os.environ.get("MKL_CBWR", "").endswith(",STRICT")


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
    "a_gem_buffer": 9,
    "generative_epochs": 2,
    "generative_hidden": 8,
    "generative_latent": 3,
    "adapter_width": 3,
    "patience": 1,
}


def tiny_stream(n_tasks: int = 3, n_classes: int = 2, n_train: int = 22, seed: int = 0) -> Stream:
    """Images (1, 6, 6) around one random point per class; `n_train` training examples per task, 8 of test, 6 of
    validation."""
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
    images = torch.from_numpy(np.concatenate(x)).to(torch.float32)
    return Stream("tiny", images, torch.from_numpy(np.concatenate(y)), tuple(tasks), shift=0.1, scale=0.9)


def moody(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A network of one's own that vmap cannot lift: batch statistics and dropout."""
    n = int(np.prod(input_shape))
    layers = [nn.Linear(n, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, n_outputs)]
    return nn.Sequential(nn.Flatten(), *layers)


MOODY = NetworkConfig(name="tests.training.conformance:moody")


def values_of(ingredients: tuple[str, ...], **given: Value) -> dict[str, Value]:
    """All hyperparameters of a trial: small defaults, then `given`."""
    hypers = hypers_of(ingredients)
    defaults = {name: hyper.default for name, hyper in hypers.items()}
    return {**defaults, **{k: v for k, v in SMALL.items() if k in hypers}, **given}


def make_pack(
    stream: Stream,
    ingredients: tuple[str, ...] = (),
    runs: tuple[RunSpec, ...] | None = None,
    scenario: Scenario | None = None,
    network: NetworkConfig = MLP,
    share_prefix: bool = True,
    joint: bool = False,
    curves: int = 0,
    **given: Value,
) -> Pack:
    """A pack of `runs`, or of one run of seed 0 with the values `given`; in task-il if the ingredients can."""
    runs = runs or (RunSpec(0, 0, values_of(ingredients, **given)),)
    spec = PackSpec(network, scenario or scenario_for(*ingredients), ingredients, runs, joint, curves)
    return Pack(spec, stream, share_prefix=share_prefix)


def scenario_for(*ingredients: str) -> Scenario:
    """The first scenario that all of them know; where there is none, or an ingredient is unknown, the first one."""
    known = [registry[name].scenarios for name in ingredients if name in registry]
    return next((s for s in SCENARIOS if all(s in scenarios for scenarios in known)), SCENARIOS[0])


def finish(pack: Pack) -> Pack:
    while not pack.done:
        pack.step()
    return pack


def weights(pack: Pack) -> Tensor:
    """(runs alive, P)."""
    return pack.stack.theta[torch.from_numpy(pack.stack.row_of)]


def outcome(record: RunRecord) -> tuple[Any, ...]:
    """All that a run found out, its time aside."""
    return (
        record.key,
        record.validation,
        record.test,
        record.curves,
        record.buffers,
        record.steps,
        record.stored_bytes,
        record.failure,
    )


def outcomes(pack: Pack) -> list[tuple[Any, ...]]:
    return [outcome(record) for record in pack.records]


def assert_same(one: Pack, other: Pack) -> None:
    """Bitwise the same weights, and the same records."""
    assert outcomes(one) == outcomes(other)
    assert torch.equal(weights(one), weights(other))


def assert_equal(one: Tensor, other: Tensor) -> None:
    """To the last bit, if matrix products round alike wherever their operands lie in memory; else nearly."""
    if EXACT:
        assert torch.equal(one, other)
    else:  # where rounding turns a ReLU over, Adam makes a whole step of it
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-2)


def off_values(kind: type[Ingredient]) -> list[dict[str, Value]]:
    """The settings that switch an ingredient off: each hyperparameter of which the text says so (`0 is off`)."""
    found = [(hyper, re.search(r"(\d+) is off", hyper.doc)) for hyper in kind.hypers]
    return [{hyper.name: int(off[1])} for hyper, off in found if off]


def variants(kind: type[Ingredient]) -> list[dict[str, Value]]:
    """The defaults, and every other choice of each hyperparameter that is a choice."""
    others = [(h.name, c) for h in kind.hypers for c in h.choices if c != h.default]
    return [{}, *({name: choice} for name, choice in others)]


def varied_runs(names: tuple[str, ...], n: int, **given: Value) -> tuple[RunSpec, ...]:
    """`n` runs of two seeds that differ in learning rate and in every number of their ingredients; some are off."""

    def value(hyper: Hyper, k: int) -> Value:
        assert isinstance(hyper.default, int | float)
        lowest = None if hyper.low_open else hyper.low
        chosen = (hyper.default, lowest, hyper.default / 2)[k % 3]
        return type(hyper.default)(hyper.default if chosen is None else chosen)

    runs = []
    for k in range(n):
        own = {h.name: value(h, k) for name in names for h in registry[name].hypers if not h.structural}
        runs.append(RunSpec(k, k % 2, values_of(names, **{"lr": 0.01 * (1 + k // 4), **own, **given})))
    return tuple(runs)


class IngredientConformance:
    """The suite. Each test makes tiny packs; together they take a few seconds per ingredient."""

    @pytest.fixture
    def stream(self) -> Stream:
        return tiny_stream()

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    @pytest.mark.parametrize("scenario", SCENARIOS)
    def test_same_seed_same_bits(self, kind: str, stream: Stream, scenario: Scenario, optimizer: str) -> None:
        if scenario not in registry[kind].scenarios:
            with pytest.raises(InputError, match=f"`{kind}` works in .*scenario={scenario}") as caught:
                make_pack(stream, (kind,), scenario=scenario)
            assert "\n" not in str(caught.value)
            return
        for variant in variants(registry[kind]):
            given = {"optimizer": optimizer, "weight_decay": 0.01, **variant}
            first, second = (finish(make_pack(stream, (kind,), scenario=scenario, curves=2, **given)) for _ in range(2))
            assert_same(first, second)
            record = first.records[0]
            assert record.failure is None
            assert np.shape(record.validation) == np.shape(record.test) == (4, 3)
            assert torch.isfinite(weights(first)).all()

    @pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
    def test_a_restored_run_continues_bitwise(self, kind: str, stream: Stream, network: NetworkConfig) -> None:
        for variant in variants(registry[kind]) if network is MLP else [{}]:
            runs = varied_runs((kind,), 4, **variant)
            whole = finish(make_pack(stream, (kind,), runs, network=network, curves=1))
            for tasks_before in range(len(stream.tasks) + 1):
                pack = make_pack(stream, (kind,), runs, network=network, curves=1)
                for _ in range(tasks_before):
                    pack.step()
                assert_same(finish(Pack.restore(pack.checkpoint(), stream)), whole)

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_off_is_naive(self, kind: str, stream: Stream, optimizer: str) -> None:
        offs = off_values(registry[kind])
        assert offs, "the text of some hyperparameter must say which value is off, such as `0 is off`"
        for scenario, off in itertools.product(registry[kind].scenarios, offs):
            given = {"optimizer": optimizer, "weight_decay": 0.01}
            naive = finish(make_pack(stream, scenario=scenario, **given))
            switched_off = finish(make_pack(stream, (kind,), scenario=scenario, **given, **off))
            assert_same(naive, switched_off)
            assert naive.records[0].stored_bytes == 0

    def test_on_is_not_naive(self, kind: str, stream: Stream) -> None:
        scenario = registry[kind].scenarios[-1]  # of several that in which most is forgotten
        naive = finish(make_pack(stream, scenario=scenario))
        on = finish(make_pack(stream, (kind,), scenario=scenario))
        assert not torch.equal(weights(naive), weights(on))
        assert (on.records[0].stored_bytes > 0) == on.ingredients[0].has("stored_bytes")

    @pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
    def test_alone_is_as_in_a_pack_of_8(self, kind: str, stream: Stream, network: NetworkConfig) -> None:
        runs = varied_runs((kind,), 8)
        together = finish(make_pack(stream, (kind,), runs, network=network))
        for k, run in enumerate(runs):
            alone = finish(make_pack(stream, (kind,), (run,), network=network))
            assert outcomes(alone)[0] == outcomes(together)[k]
            # For products as small as here torch has kernels of its own, and chooses by the size of the whole batch.
            torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)

    def test_sharing_the_prefix_changes_nothing(self, kind: str, stream: Stream) -> None:
        runs = varied_runs((kind,), 6)
        shared, apart = (finish(make_pack(stream, (kind,), runs, share_prefix=s)) for s in (True, False))
        assert outcomes(shared) == outcomes(apart)
        torch.testing.assert_close(weights(shared), weights(apart), rtol=1e-3, atol=1e-4)

    def test_a_dropped_neighbour_changes_nothing(self, kind: str, stream: Stream) -> None:
        runs = varied_runs((kind,), 6)
        whole = finish(make_pack(stream, (kind,), runs))
        for gone, after in (({0}, 1), ({1, 4}, 1), ({2, 3}, 2), ({5}, 0)):
            pack = make_pack(stream, (kind,), runs)
            for _ in range(after):
                pack.step()
            pack.drop(runs[i].key for i in gone)
            finish(pack)
            kept = [i for i in range(6) if i not in gone]
            assert pack.stack.alive == kept
            assert [outcomes(pack)[i] for i in kept] == [outcomes(whole)[i] for i in kept]
            assert_equal(weights(pack), weights(whole)[kept])

    def test_an_optimizer_that_goes_on_is_restored_and_knows_no_neighbour(self, kind: str, stream: Stream) -> None:
        runs = varied_runs((kind,), 4, optimizer_state="kept")
        together, broken = finish(make_pack(stream, (kind,), runs)), make_pack(stream, (kind,), runs)
        while not broken.done:
            broken.step()
            broken = Pack.restore(broken.checkpoint(), stream)
        assert_same(broken, together)
        for k, run in enumerate(runs):
            alone = finish(make_pack(stream, (kind,), (run,)))
            assert outcomes(alone)[0] == outcomes(together)[k]
            torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)

    def test_state_moves_with_its_run(self, kind: str, stream: Stream) -> None:
        runs = varied_runs((kind,), 6)
        pack = make_pack(stream, (kind,), runs)
        pack.step()
        theta = weights(pack)
        states = [{k: v[row] for k, v in pack.stack.states[kind].items()} for row in pack.stack.row_of]
        memories = [pack.stack.memories[kind][row] for row in pack.stack.row_of]
        for act in (lambda: pack.stack.spread("later"), lambda: pack.drop([runs[3].key]), lambda: pack.drop([(0, 0)])):
            act()
            for k, row in zip(pack.stack.alive, pack.stack.row_of, strict=True):
                assert torch.equal(pack.stack.theta[row], theta[k])
                assert all(torch.equal(v[row], states[k][name]) for name, v in pack.stack.states[kind].items())
                assert np.array_equal(pack.stack.memories[kind][row].indices, memories[k].indices)
                assert np.array_equal(pack.stack.memories[kind][row].logits, memories[k].logits)
                assert pack.stack.representatives[row].numbers == runs[k].numbers
        assert pack.stack.alive == [1, 2, 4, 5]

    def test_hooks_are_pure(self, kind: str, stream: Stream) -> None:
        pack = make_pack(stream, (kind,))
        pack.step()
        (ingredient,) = pack.ingredients
        theta, state = pack.stack.theta[0].clone(), {k: v[0].clone() for k, v in pack.stack.states[kind].items()}
        values = {k: v[0].clone() for k, v in pack.stack.values.items()}
        noise = torch.randn_like(theta)
        sample = _some_sample(pack)
        batch = _some_batch(pack, ingredient, sample)
        accuracies = torch.tensor([0.5, 0.25, 0.0], dtype=torch.float64)
        masks = pack.outputs.masks[1]
        tensors: tuple[Any, ...] = (theta, state, values, noise, sample, batch, accuracies, masks)
        before = pytree.tree_map(torch.clone, tensors)
        calls: Mapping[str, tuple[Any, ...]] = {
            "start_task": (theta, state, values, 1),
            "imagine": (theta, state, values, 1, sample.noise),
            "open_outputs": (masks, values, 1),
            "teacher": (state,),
            "loss": (batch, state, values, 1),
            "recalled_loss": (batch, state, values),
            "reaches_old": (values,),
            "gradient": (noise, theta, state, values),
            "project": (noise, theta, values),
            "after_step": (noise, theta, theta + noise, state, values),
            "weight_rates": (theta, values),
            "rate": (values, 2, 9),
            "trainable": (state, values, 1, False),
            "check": (theta, state, values, accuracies, 1, 1),
            "mid_task": (theta, state, values, 1),
            "end_task": (theta, state, values, 1, sample),
            "weights_for": (theta, state, values, 0),
        }
        for hook, arguments in calls.items():
            if ingredient.has(hook):
                with torch.no_grad():
                    once, again = (getattr(ingredient, hook)(*arguments) for _ in range(2))
                assert all(map(torch.equal, pytree.tree_leaves(once), pytree.tree_leaves(again))), hook
                unchanged = map(torch.equal, pytree.tree_leaves(tensors), pytree.tree_leaves(before))
                assert all(unchanged), f"`{hook}` modified one of its arguments"

    def test_memories_are_pure(self, kind: str, stream: Stream) -> None:
        pack = make_pack(stream, (kind,))
        pack.step()
        (ingredient,) = pack.ingredients
        memory, numbers = pack.stack.memories[kind][0], pack.spec.runs[0].numbers
        kept, examples = memory.indices.copy(), stream.tasks[1].train.copy()
        if ingredient.has("rehearse"):
            batch = ingredient.rehearse(examples, 5, memory, numbers, generator(0, "rehearse"))
            assert batch.shape == examples.shape
        if ingredient.has("remember"):
            ingredient.remember(memory, examples, numbers, generator(0, "remember"))
        assert np.array_equal(memory.indices, kept)
        assert np.array_equal(examples, stream.tasks[1].train)


def check_composition(kind: str, other: str, stream: Stream, optimizer: str, scenario: Scenario) -> None:
    """Two ingredients in one trial: switched off they are naive, with one of them off the other one is itself, and
    with both on a pack of different runs trains to the end; two that do not go together are refused."""
    if other in registry[kind].excludes or kind in registry[other].excludes:
        with pytest.raises(InputError, match=r"do not go together: .+\. Remove one of them"):
            hypers_of((kind, other))
        return
    off = {name: off_values(registry[name])[0] for name in (kind, other)}
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.01}

    def trained(*names: str, **values: Value) -> Pack:
        return finish(make_pack(stream, names, scenario=scenario, **{**given, **values}))

    assert_same(trained(kind, other, **off[kind], **off[other]), trained())
    for one, absent in ((kind, other), (other, kind)):
        assert_same(trained(kind, other, **off[absent]), trained(one))
    pack = finish(make_pack(stream, (kind, other), varied_runs((kind, other), 4, **given), scenario=scenario))
    assert all(record.failure is None for record in pack.records)
    assert torch.isfinite(weights(pack)).all()


def _some_batch(pack: Pack, ingredient: Ingredient, sample: Sample) -> Batch:
    """Answers of the network, and of another one."""

    def answers(theta: Tensor) -> Answers:
        parameters = pack.layout.unflatten(theta[:1])
        logits, features = pack.lifted.answers(parameters, sample.x.unsqueeze(0), ingredient.layers)
        return Answers(logits[0], {name: feature[0] for name, feature in features.items()})

    theta = pack.stack.theta
    return Batch(sample.labels, sample.mask, answers(theta), answers(theta + 0.1))


def _some_sample(pack: Pack) -> Sample:
    indices = torch.from_numpy(pack.stream.tasks[1].train[:7])
    outputs = pack.outputs
    mask = outputs.masks[1][outputs.task_of[indices]]
    noise = torch.randn(7, pack.ingredients[0].noise_size())
    return Sample(pack.store[indices], outputs.labels[indices], mask, torch.linspace(0, 0.99, 7), noise)
