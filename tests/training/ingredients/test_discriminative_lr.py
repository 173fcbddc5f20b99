"""Rates by layer against torch.optim with parameter groups."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing import PlainLoop
from cfsweep.testing.packs import CNN, MLP, finish, make_pack, small_stream, values_of, weights
from cfsweep.testing.plain import OPTIMIZERS
from cfsweep.training.engine import optimizers as optimizers_module
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.optimizers import STATE_NAMES, ByWeight, Rates, update
from cfsweep.training.ingredients.discriminative_lr import DiscriminativeLR, heights
from cfsweep.training.networks import build
from cfsweep.training.spec import RunSpec

NAMES = ("discriminative-lr",)


def test_rates_by_hand() -> None:
    """mlp 36-12-9-6, factor 1/2: the head 1, body.3 (9·12 + 9 weights) 1/2, body.1 (12·36 + 12) 1/4."""
    (ingredient,) = make_pack(small_stream(), NAMES).context.ingredients
    factors = ingredient.weight_rates({"layer_lr_factor": torch.tensor(0.5)})
    assert factors.tolist() == [0.25] * 444 + [0.5] * 117 + [1.0] * 60
    assert heights(ingredient.context.layout) == {"head": 0, "body.3": 1, "body.1": 2}


def test_a_norm_goes_with_the_layer_before_it() -> None:
    module = torch.nn.Sequential(
        torch.nn.GroupNorm(1, 4),  # has no layer before it
        torch.nn.Linear(4, 5),
        torch.nn.LayerNorm(5),
        torch.nn.LayerNorm(5),
        torch.nn.Linear(5, 5, bias=False),
        torch.nn.Linear(5, 3),
    )
    assert heights(Layout(module, 3)) == {"5": 0, "4": 1, "3": 2, "2": 2, "1": 2, "0": 2}
    resnet = heights(Layout(build(NetworkConfig(name="resnet18-slim", args={"width": 4}), (3, 8, 8), 6), 6))
    assert resnet["head"] == 0
    assert resnet["stem.0"] == resnet["stem.1"] == max(resnet.values()) == 1 + 16 + 3  # 3 shortcuts are convolutions
    lone = Layout(torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)), 3)
    assert heights(lone) == {"1": 0, "0": 0}


@pytest.mark.parametrize("way", ["row by row", "all rows at once"])
@pytest.mark.parametrize("name", sorted(STATE_NAMES))
def test_any_rates_by_weight_agree_with_parameter_groups(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "all rows at once":  # as on a GPU
        monkeypatch.setattr(optimizers_module, "_row_by_row", optimizers_module._all_rows_at_once)
    torch.manual_seed(4)
    cuts, pieces = [7, 1, 30, 12], torch.rand(3, 4)
    factors = torch.repeat_interleave(pieces, torch.tensor(cuts), dim=1)
    theta, lr, decay = torch.randn(3, 50), torch.tensor([[0.1], [0.01], [0.03]]), torch.tensor([[0.0], [0.1], [0.01]])
    rates = Rates(lr, torch.full((3, 1), 0.9), decay, True, ByWeight.of(factors))
    twins = [[piece.clone().requires_grad_() for piece in row.split(cuts)] for row in theta]
    theirs = [
        OPTIMIZERS[name](
            [{"params": [p], "lr": float(lr[k] * f)} for p, f in zip(twin, pieces[k], strict=True)],
            weight_decay=float(decay[k]),
            **({"momentum": 0.9} if name == "sgd" else {}),
        )
        for k, twin in enumerate(twins)
    ]
    state = {key: torch.zeros_like(theta) for key in STATE_NAMES[name]}
    for step in range(1, 60):
        gradient = torch.randn(3, 50) * (10.0 ** torch.randint(-6, 2, (3, 50)))
        for twin, optimizer, row in zip(twins, theirs, gradient, strict=True):
            for p, piece in zip(twin, row.split(cuts), strict=True):
                p.grad = piece.clone()
            optimizer.step()
        for rows in (slice(0, 2), slice(2, 3)):
            block = {key: value[rows] for key, value in state.items()}
            update(name, theta[rows], gradient[rows].clone(), block, rates.rows(rows), step, [])
    expected = torch.stack([torch.cat([p.detach() for p in twin]) for twin in twins])
    torch.testing.assert_close(theta, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda network: network.name)
def test_whole_runs_agree_with_parameter_groups(network: NetworkConfig, optimizer: str) -> None:
    stream = small_stream()
    layers = {"mlp": ["head", "body.3", "body.1"], "cnn": ["head", "body.6", "body.2", "body.0"]}[network.name]
    for seed, factor in ((0, 1 / 2.6), (1, 0.1)):
        run = RunSpec(0, seed, values_of(NAMES, optimizer=optimizer, layer_lr_factor=factor))
        pack, plain = make_pack(stream, NAMES, (run,), network=network), PlainLoop(stream, run, network=network)
        rates = {layer: 0.01 * factor**height for height, layer in enumerate(layers)}
        for task in range(3):
            pack.train_next_task()
            assert list(plain.steps(task, plain.optimizer(**rates)))[-1] == 15
            torch.testing.assert_close(weights(pack)[0], plain.theta(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_factor_1_is_plain_training_to_the_last_bit_beside_other_factors(optimizer: str) -> None:
    stream, given = small_stream(), {"optimizer": optimizer, "weight_decay": 0.01}
    runs = tuple(
        RunSpec(k, 0, values_of(NAMES, layer_lr_factor=factor, **given)) for k, factor in enumerate([0.5, 1.0, 0.1])
    )
    mixed = finish(make_pack(stream, NAMES, runs))
    plain = tuple(RunSpec(k, 0, values_of((), lr=lr, **given)) for k, lr in enumerate([0.02, 0.01, 0.03]))
    naive = finish(make_pack(stream, runs=plain))
    assert torch.equal(weights(mixed)[1], weights(naive)[1])
    assert not torch.equal(weights(mixed)[0], weights(mixed)[1])


@pytest.mark.parametrize("value", [0, -0.1, 1.01, float("nan")])
def test_a_factor_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"0 < layer_lr_factor <= 1.*1 is off") as caught:
        DiscriminativeLR.hypers[0].check(value, "space.yaml")
    assert "\n" not in str(caught.value)
