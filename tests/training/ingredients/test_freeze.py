"""Freezing by depth: which weights stay, to the last bit, and which go on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing.packs import CNN, MLP, assert_same, finish, make_pack, small_stream
from cfsweep.training.batches import orders
from cfsweep.training.ingredients import hypers_of, registry
from cfsweep.training.pack import Pack

LAYERS = {"mlp": ["body.1", "body.3"], "cnn": ["body.0", "body.2", "body.6"]}


def parameters(pack: Pack) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in pack.context.layout.unflatten(pack.stack.theta[0]).items()}


def moved(pack: Pack) -> set[str]:
    """The layers in which some weight moves in the next task."""
    before = parameters(pack)
    pack.train_next_task()
    after = parameters(pack)
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("network", "depth"),
    [*((MLP, depth) for depth in (0, 1, 2, 3, 9)), (CNN, 2)],
    ids=lambda value: value.name if isinstance(value, NetworkConfig) else value,
)
def test_the_first_layers_do_not_move_by_a_bit(network: NetworkConfig, depth: int, optimizer: str) -> None:
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.1, "momentum": 0.9}
    pack = make_pack(small_stream(), ("freeze",), network=network, freeze_depth=depth, **given)
    layers = LAYERS[network.name]
    assert moved(pack) == {*layers, "head"}, "task 0 trains them all"
    for _ in range(2):
        assert moved(pack) == {*layers[depth:], "head"}


@pytest.mark.parametrize(
    ("named", "depth", "expected"),
    [
        ("", 1, {"body.3", "head"}),
        ("body.3", 0, {"body.1", "head"}),
        ("body.3", 1, {"head"}),
        (" body.3 , body.1", 0, {"head"}),
        ("body", 0, {"head"}),
        ("body.1,body", 0, {"head"}),
    ],
)
def test_named_layers_are_frozen_besides_with_all_beneath_them(named: str, depth: int, expected: set[str]) -> None:
    pack = make_pack(small_stream(), ("freeze",), freeze_layers=named, freeze_depth=depth, weight_decay=0.1)
    assert moved(pack) == {"body.1", "body.3", "head"}
    assert moved(pack) == expected


def test_a_name_is_no_prefix_of_another() -> None:
    """`body.1` must not take `body.10` with it."""
    network = NetworkConfig(name="mlp", args={"hidden": [3] * 6})
    pack = make_pack(small_stream(), ("freeze",), network=network, freeze_layers="body.1", freeze_depth=0)
    (freeze,) = pack.context.ingredients
    still = ~freeze.trainable({}, {"freeze_depth": torch.tensor(0.0)}, 1, after_cut=False)
    assert {e.layer for e in pack.context.layout.entries if still[e.where].any()} == {"body.1"}
    assert "body.11" in pack.context.layout.layers


def test_norms_count_as_layers() -> None:
    network = NetworkConfig(name="resnet18-slim", args={"width": 4})
    pack = make_pack(small_stream(n_tasks=2, n_train=5), ("freeze",), network=network, freeze_depth=2, epochs=1)
    pack.train_next_task()
    frozen = set(pack.context.layout.layers) - moved(pack)
    assert {"stem.0", "stem.1"} <= frozen
    assert "blocks.0.body.0" not in frozen


@pytest.mark.parametrize("named", ["head", "body.2", "body.0, body.1"])
def test_a_name_without_weights_to_freeze_is_refused(named: str) -> None:
    with pytest.raises(InputError, match=r"`freeze_layers` must name layers with weights.*body\.1, body\.3") as caught:
        make_pack(small_stream(), ("freeze",), freeze_layers=named)
    assert "\n" not in str(caught.value)


def test_bad_values_are_refused() -> None:
    with pytest.raises(InputError, match="unknown layer `bodie`"):
        make_pack(small_stream(), ("freeze",), freeze_layers="bodie")
    (depth,) = (hyper for hyper in registry["freeze"].hypers if hyper.name == "freeze_depth")
    for bad in (-1, 1.5, "1", True):
        with pytest.raises(InputError, match="freeze_depth"):
            depth.check(bad, "here")
    with pytest.raises(InputError, match=r"`freeze` and `packnet` do not go together: .*free weights"):
        hypers_of(("packnet", "freeze"))


def test_by_hand_as_naive_with_its_gradients_cut() -> None:
    """Layers frozen at depth 9: only the output layer learns, as in a network whose body has learning rate 0."""
    stream = small_stream(n_tasks=2)
    frozen = make_pack(stream, ("freeze",), freeze_depth=9, optimizer="sgd", momentum=0.0, lr=0.05)
    naive = make_pack(stream, optimizer="sgd", momentum=0.0, lr=0.05)
    frozen.train_next_task()
    naive.train_next_task()
    assert torch.equal(frozen.stack.theta, naive.stack.theta)
    module, mask = naive.context.lifted.module, naive.context.outputs.masks[1, 1]
    with torch.no_grad():
        for name, value in naive.context.layout.unflatten(naive.stack.theta[0]).items():
            module.get_parameter(name).copy_(value)
    head = module.get_submodule("head")
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    order = orders(naive.stack.representatives, stream.tasks[1].train, 1, 3, 5, [], {})[0]
    for epoch in order:
        for at in range(0, len(epoch), 5):
            chosen = torch.from_numpy(epoch[at : at + 5])
            logits = module(naive.context.store[chosen]).masked_fill(~mask, -torch.inf)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, naive.context.outputs.labels[chosen]).backward()
            optimizer.step()
    finish(frozen)
    expected = naive.context.layout.flatten({name: value.detach() for name, value in module.named_parameters()})
    torch.testing.assert_close(frozen.stack.theta[0], expected, rtol=1e-4, atol=1e-5)


def test_names_that_are_empty_switch_it_off() -> None:
    stream = small_stream()
    off = finish(make_pack(stream, ("freeze",), freeze_depth=0, freeze_layers=" , "))
    assert_same(off, finish(make_pack(stream)))
