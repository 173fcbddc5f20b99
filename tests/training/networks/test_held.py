"""Weights that are held from the first step on: which they are, and that nothing moves them."""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import (
    CNN,
    MLP,
    UNLIFTABLE,
    assert_same,
    finish,
    make_pack,
    restored,
    small_stream,
    values_of,
)
from cfsweep.testing.plain import PlainLoop
from cfsweep.training.ingredients import registry
from cfsweep.training.networks import _held, build
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec


def holding(*patterns: str, of: NetworkConfig = MLP) -> NetworkConfig:
    return of.model_copy(update={"freeze": patterns})


def names(config: NetworkConfig) -> list[str]:
    """Those of the parameters that train."""
    return [name for name, p in build(config, (1, 6, 6), 6).named_parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("patterns", "trained"),
    [
        ((), ["body.1.weight", "body.1.bias", "body.3.weight", "body.3.bias", "head.weight", "head.bias"]),
        (("body.*",), ["head.weight", "head.bias"]),
        (("body.1.*", "*.bias"), ["body.3.weight", "head.weight"]),
        (("body.[13].weight",), ["body.1.bias", "body.3.bias", "head.weight", "head.bias"]),
        (("head.*",), ["body.1.weight", "body.1.bias", "body.3.weight", "body.3.bias"]),
    ],
)
def test_what_a_pattern_names(patterns: tuple[str, ...], trained: list[str]) -> None:
    assert names(holding(*patterns)) == trained


def test_a_weight_of_two_names_is_held_by_either() -> None:
    one = nn.Linear(3, 3)
    other = nn.Linear(3, 3)
    other.weight = one.weight
    for pattern in ("0.weight", "1.weight"):
        network = deepcopy(nn.Sequential(one, other))
        _held.hold(network, [pattern])
        assert not network[0].weight.requires_grad


def test_a_pattern_that_names_nothing_or_everything_is_refused_in_one_line() -> None:
    with pytest.raises(InputError) as caught:
        names(holding("body.*", "bdy.*"))
    assert str(caught.value) == (
        "network.freeze: each pattern must match the name of a parameter, but `bdy.*` matches none. There are "
        "body.1.weight, body.1.bias, body.3.weight, body.3.bias, head.weight and 1 more."
    )
    with pytest.raises(InputError) as caught:
        names(holding("body.*", "head.*"))
    assert str(caught.value) == (
        "network.freeze: something must be left to train, but `body.*`, `head.*` hold every parameter, those of the "
        "output layer too. Leave these out."
    )


# ------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize(
    ("patterns", "held"),
    [
        (("2.*",), True),
        (("2.weight", "2.bias"), True),  # a norm that is held whole
        (("2.weight",), False),
        (("2.running_*",), True),  # its statistics alone
        (("1.*",), False),
    ],
)
def test_statistics_of_a_norm_that_is_held_stay(patterns: tuple[str, ...], held: bool) -> None:
    network = build(holding(*patterns, of=UNLIFTABLE), (1, 6, 6), 6)
    before = {name: value.clone() for name, value in network.named_buffers()}
    for module in (network, deepcopy(network), pickle.loads(pickle.dumps(network))):  # packs copy their networks
        module.eval()
        module.train()(torch.randn(8, 1, 6, 6))
        same = [torch.equal(value, before[name]) for name, value in module.named_buffers()]
        assert all(same) == held
        assert any(same) == held
    assert isinstance(network[2], nn.BatchNorm1d)
    if held:
        x, norm = torch.randn(5, 12), network[2]
        expected = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        torch.testing.assert_close(norm(x), expected)


def test_a_network_whose_norms_are_all_held_can_be_stacked() -> None:
    network = NetworkConfig(name="tests.training.own_networks:batch_norm", freeze=("2.running_*",))
    assert make_pack(small_stream(), network=network).context.lifted.liftable
    assert not make_pack(small_stream(), network=network.model_copy(update={"freeze": ()})).context.lifted.liftable


# ------------------------------------------------------------------------------------------------ in a pack


def tensors(pack: Pack) -> dict[str, torch.Tensor]:
    """All weights and statistics as they are."""
    module = pack.context.lifted.module
    held = {name: value.detach() for name, value in (*module.named_parameters(), *module.named_buffers())}
    own = pack.context.layout.unflatten(pack.stack.theta[0])
    return {name: value.clone() for name, value in {**held, **own}.items()}


@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
@pytest.mark.parametrize("name", [None, *registry])
def test_nothing_moves_what_is_held(name: str | None, network: NetworkConfig) -> None:
    """Neither gradient, momentum and decay, nor what any remedy adds; and the rest is trained."""
    config = holding("body.1.*" if network is MLP else "body.0.*", of=network)
    given: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "epochs": 1}
    pack = make_pack(small_stream(2), (name,) if name else (), network=config, **given)
    before = tensors(pack)
    finish(pack)
    layer = config.freeze[0].removesuffix("*")
    moved = {k for k, v in tensors(pack).items() if not torch.equal(v, before[k])}
    assert pack.records[0].failure is None
    assert not {f"{layer}weight", f"{layer}bias"} & moved  # (what adapters add beneath is none of these)
    assert {"head.weight", "body.3.weight" if network is MLP else "body.2.weight"} <= moved


def test_norms_that_are_held_stay_in_a_pack_too() -> None:
    network = holding("1.*", "2.*", of=UNLIFTABLE)
    pack = make_pack(small_stream(), ("lwf",), network=network, batch_size=6)
    before = tensors(pack)
    finish(pack)
    moved = {name for name, value in tensors(pack).items() if not torch.equal(value, before[name])}
    assert moved == {"5.weight", "5.bias"}


def test_it_trains_as_a_plain_loop_that_holds_the_same() -> None:
    stream, config = small_stream(), holding("body.1.*", "*.bias")
    run = RunSpec(0, 3, values_of((), optimizer="sgd", momentum=0.9, lr=0.02))
    plain = PlainLoop(stream, run, "class-il", config)
    accuracies = plain.train()
    pack = finish(make_pack(stream, (), (run,), "class-il", config))
    torch.testing.assert_close(pack.stack.theta[0], plain.theta(), rtol=0, atol=2e-5)
    assert pack.records[0].test == accuracies


def test_what_is_held_counts_for_nothing() -> None:
    """Neither as a parameter, nor for Fisher and anchors, nor for packnet's shares."""
    n = 36 * 12 + 12  # of the first layer
    whole, part = (finish(make_pack(small_stream(), ("ewc",), network=c)) for c in (MLP, holding("body.1.*")))
    assert whole.context.layout.size - part.context.layout.size == n
    assert part.report().n_parameters == 12 * 9 + 9 + 9 * 6 + 6
    assert whole.records[0].stored_bytes - part.records[0].stored_bytes == 2 * 4 * n
    packnet = make_pack(small_stream(), ("packnet",), network=holding("body.1.*"))
    assert sum(e.stop - e.start for e in packnet.context.layout.entries if e.prunable) == 12 * 9
    packnet.train_next_task()
    owner = packnet.stack.states["packnet"]["owner"][0][packnet.context.layout.entries[0].where]
    assert int((owner == 0).sum()) == 54, "half of what is free"


def test_seeds_that_draw_what_is_held_are_trained_one_at_a_time() -> None:
    runs = tuple(RunSpec(0, seed, values_of(())) for seed in range(2))
    with pytest.raises(InputError, match=r"`body\.1\.weight`, which is not trained, differs from seed to seed"):
        make_pack(small_stream(), (), runs, network=holding("body.1.*"))
    packs = [make_pack(small_stream(), (), runs[k : k + 1], network=holding("body.1.*")) for k in range(2)]
    assert not torch.equal(*(pack.context.lifted.module.get_parameter("body.1.weight") for pack in packs))


def test_a_restored_pack_holds_the_same() -> None:
    for config in (holding("body.1.*"), holding("2.*", of=UNLIFTABLE)):
        given: dict[str, Any] = {"network": config, "batch_size": 6}
        whole, pack = finish(make_pack(small_stream(), **given)), make_pack(small_stream(), **given)
        while not pack.done:
            pack = restored(pack)
            pack.train_next_task()
        assert_same(pack, whole)
