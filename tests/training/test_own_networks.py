"""What the user's network says is heeded: each trains as in a plain loop, and what does not train stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop, finish, make_pack, small_stream, values_of
from cfsweep.testing.packs import assert_same, restored
from cfsweep.testing.plain import ByName
from cfsweep.training.networks import build, seeded_constants
from cfsweep.training.pack import Pack, single_run_reason
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Task
from tests.training.helpers import sensitivity_by_hand

MODULE = "tests.training.own_networks"


def network(name: str, **args: Any) -> NetworkConfig:
    return NetworkConfig(name=f"{MODULE}:{name}", args=args)


NETWORKS = [
    network("frozen"),
    network("frozen", pretrained=False),
    network("spare"),
    network("no_grad"),
    network("random_features"),
    network("shuffled"),
    network("recurrent"),
    network("recurrent", cell="gru"),
]
ids = ["frozen", "frozen, random", "spare", "no_grad", "random features", "shuffled", "lstm", "gru"]


class PlainEWC(PlainLoop):
    """Separate, with the empirical Fisher of all examples of a task."""

    def start(self) -> None:
        self.anchors: list[tuple[ByName, ByName]] = []

    def penalty(self) -> Tensor:
        strength = 0.5 * float(self.values["ewc_lambda"])
        return sum((strength * self.quadratic(*anchor) for anchor in self.anchors), torch.zeros(()))

    def end_task(self, number: int, task: Task) -> None:
        fisher = self.zeros()
        for index in task.train.tolist():
            self.network.zero_grad()
            self.loss(index, number + 1).backward()  # type: ignore[no-untyped-call]
            for name, gradient in self.gradients().items():
                fisher[name] += gradient**2 / len(task.train)
        self.anchors.append((fisher, self.weights()))


def run_of(names: tuple[str, ...], seed: int, optimizer: str, **given: Any) -> RunSpec:
    return RunSpec(0, seed, values_of(names, optimizer=optimizer, epochs=2, lr=0.02, **given))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("config", NETWORKS, ids=ids)
def test_it_trains_as_in_a_plain_loop(config: NetworkConfig, optimizer: str) -> None:
    stream, run = small_stream(), run_of((), 3, optimizer)
    plain = PlainLoop(stream, run, "class-il", config)
    before = {name: value.clone() for name, value in plain.network.state_dict().items()}
    accuracies = plain.train()
    pack = finish(make_pack(stream, (), (run,), "class-il", config))
    torch.testing.assert_close(pack.stack.theta[0], plain.theta(), rtol=0, atol=2e-5)
    assert pack.records[0].test == accuracies
    trained = {name: p for name, p in plain.network.named_parameters() if p.requires_grad}
    assert pack.report().n_parameters == sum(p.numel() for p in trained.values())
    for name, value in pack.context.lifted.module.state_dict().items():
        if name not in trained:
            assert torch.equal(value, before[name]), f"`{name}` has moved"


@pytest.mark.parametrize("config", NETWORKS, ids=ids)
def test_with_ewc_too(config: NetworkConfig) -> None:
    """Its Fisher is taken example by example, also of layers that torch cannot take several examples of at once."""
    stream, given = small_stream(), {"ewc_lambda": 50.0, "ewc_fisher": "empirical", "ewc_examples": 0}
    run = run_of(("ewc",), 4, "sgd", **given)
    plain = PlainEWC(stream, run, "task-il", config)
    accuracies = plain.train()
    pack = finish(make_pack(stream, ("ewc",), (run,), "task-il", config))
    torch.testing.assert_close(pack.stack.theta[0], plain.theta(), rtol=0, atol=5e-5)
    assert pack.records[0].test == accuracies
    assert pack.records[0].stored_bytes == 2 * 4 * pack.context.layout.size, "curvature and anchor, of what trains"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_importance_of_recurrent_layers_is_that_of_one_example_at_a_time(cell: str) -> None:
    stream = small_stream()
    pack = make_pack(stream, ("mas",), network=network("recurrent", cell=cell), mas_examples=0)
    pack.train_next_task()
    context, task = pack.context, stream.tasks[0]
    assert not context.examples_can_be_lifted
    x = (stream.x[task.train] - stream.shift) * stream.scale
    mask = context.outputs.masks[0][context.outputs.task_of[torch.from_numpy(task.train)]]
    by_hand = sensitivity_by_hand(
        build(context.spec.network, stream.input_shape, 6), context.layout, pack.stack.theta[0], x, mask
    )
    torch.testing.assert_close(pack.stack.states["mas"]["importance"][0], by_hand, rtol=1e-4, atol=1e-6)


def test_the_examples_of_other_networks_are_lifted() -> None:
    for config in (network("frozen"), network("spare"), NetworkConfig(name="cnn", args={"hidden": 8})):
        assert make_pack(small_stream(), ("ewc",), network=config).context.examples_can_be_lifted


def test_what_differs_from_seed_to_seed_is_trained_one_run_at_a_time() -> None:
    stream = small_stream()
    for config, name in ((NETWORKS[1], "backbone.1.weight"), (NETWORKS[4], "features")):
        reason = single_run_reason(config, stream, "task-il")
        assert reason == f"`{name}`, which is not trained, differs from seed to seed, and stacked copies share it"
        with pytest.raises(InputError, match=r"which is not trained, differs from seed to seed.*packs of one run"):
            make_pack(stream, (), tuple(run_of((), seed, "sgd") for seed in range(2)), network=config)
        one, other = (finish(make_pack(stream, (), (run_of((), seed, "sgd"),), network=config)) for seed in range(2))
        held = [pack.context.lifted.module.state_dict()[name] for pack in (one, other)]
        assert not torch.equal(*held)
    shuffled = single_run_reason(network("shuffled"), stream, "task-il")
    assert shuffled == "what it draws when it is built, beside its weights, differs from seed to seed"
    for config in (NETWORKS[0], NETWORKS[2], NETWORKS[6]):
        assert single_run_reason(config, stream, "task-il") is None
        pack = finish(make_pack(stream, (), tuple(run_of((), seed, "sgd") for seed in range(2)), network=config))
        assert pack.records[0].failure is None


@pytest.mark.parametrize("config", NETWORKS, ids=ids)
def test_a_restored_pack_has_what_does_not_train(config: NetworkConfig) -> None:
    stream, run = small_stream(), (run_of(("ewc",), 5, "adam", ewc_examples=4),)
    whole = finish(make_pack(stream, ("ewc",), run, network=config))
    pack: Pack = make_pack(stream, ("ewc",), run, network=config)
    while not pack.done:
        pack = restored(pack)
        pack.train_next_task()
    assert_same(pack, whole)


def test_packnet_shares_out_what_trains_alone() -> None:
    pack = make_pack(small_stream(), ("packnet",), network=network("spare"), packnet_rate=0.5)
    prunable = sum(e.stop - e.start for e in pack.context.layout.entries if e.prunable)
    assert prunable == 36 * 16 + 16 * 3
    half = make_pack(small_stream(), network=network("frozen"))
    assert [e.name for e in half.context.layout.entries] == ["head.weight", "head.bias"]
    assert not any(e.prunable for e in half.context.layout.entries)


def test_a_network_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(InputError, match=r"the network has no parameter to train: all have requires_grad=False\. Set"):
        make_pack(small_stream(), network=network("all_frozen"))


def test_looking_at_constants_leaves_the_random_numbers_alone() -> None:
    config = network("random_features")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made = build(config, (36,), 2)
    torch.manual_seed(5)
    seeded_constants(lambda: build(config, (36,), 2), made, (36,))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("curves", [0, 2])
@pytest.mark.parametrize(
    ("ingredient", "holds"), [("packnet", True), ("adapters", True), ("freeze", False), (None, False)]
)
def test_running_statistics_stay_where_old_predictions_are_never_to_change(
    ingredient: str | None, holds: bool, curves: int
) -> None:
    names = (ingredient,) if ingredient else ()
    network = NetworkConfig(name="tests.training.own_networks:batch_norm")
    pack = make_pack(small_stream(), names, scenario="task-il", network=network, curves=curves, batch_size=5)
    pack.train_next_task()
    first, statistics = pack.predictions(0), {k: v.clone() for k, v in pack.context.statistics().items()}
    pack = restored(pack)
    finish(pack)
    same = all(torch.equal(value, statistics[name]) for name, value in pack.context.statistics().items())
    assert same == holds
    if holds:
        assert torch.equal(pack.predictions(0), first)
        (record,) = pack.records
        assert len({row[0] for row in record.test[1:]}) == 1, "accuracy on the first task never changes"
        assert record.test[2][1] > 0.5, "and later tasks are learned"


def test_an_ingredient_that_is_off_lets_running_statistics_go_on() -> None:
    network = NetworkConfig(name="tests.training.own_networks:batch_norm")
    given: dict[str, Any] = {"scenario": "task-il", "network": network, "batch_size": 5}
    naive = finish(make_pack(small_stream(), (), **given))
    off = finish(make_pack(small_stream(), ("packnet",), packnet_rate=0.0, **given))
    for name, value in naive.context.statistics().items():
        assert torch.equal(value, off.context.statistics()[name])
    assert torch.equal(naive.stack.theta, off.stack.theta)


@pytest.mark.parametrize("ingredients", [(), ("ewc",), ("der++",), ("lwf",)], ids="+".join)
def test_noise_in_the_answers_is_that_of_the_seed(ingredients: tuple[str, ...]) -> None:
    """Whatever was drawn before, in evaluations, importances, kept logits; and restored or not."""
    network = NetworkConfig(name=f"{MODULE}:noisy_always")
    packs = []
    for k in range(3):
        torch.manual_seed(k)
        pack = make_pack(small_stream(), ingredients, scenario="class-il", network=network, curves=1)
        if k == 2:
            pack.train_next_task()
            torch.manual_seed(9)
            pack = restored(pack)
        packs.append(finish(pack))
    assert_same(packs[0], packs[1])
    assert_same(packs[0], packs[2])
    other = finish(make_pack(small_stream(), ingredients, (RunSpec(0, 1, values_of(ingredients)),), network=network))
    assert packs[0].records[0].test != other.records[0].test


@pytest.mark.parametrize(
    ("name", "reason"),
    [("counting", "its answers to the same examples change from call to call"), ("with_a_lock", "cannot pickle")],
)
def test_what_keeps_something_to_itself_trains_alone(name: str, reason: str) -> None:
    network = NetworkConfig(name=f"{MODULE}:{name}")
    assert reason in str(single_run_reason(network, small_stream(), "task-il"))
    one, other = (finish(make_pack(small_stream(), ("ewc",), network=network)) for _ in range(2))
    assert_same(one, other)


def test_a_weight_without_dimensions_is_one() -> None:
    """A logit scale, say."""
    network = NetworkConfig(name=f"{MODULE}:scaled")
    for ingredients in ((), ("ewc",), ("mas",), ("packnet",), ("si",)):
        pack = finish(make_pack(small_stream(), ingredients, network=network))
        assert pack.records[0].failure is None
        assert pack.context.layout.unflatten(pack.stack.theta)["scale"].shape == (1,)
