"""Feature distillation: its loss by hand and by the definition, and whole runs against a plain loop with hooks."""

from __future__ import annotations

import copy
from functools import cache
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import CNN, PlainLoop, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import UNLIFTABLE, assert_same, weights
from cfsweep.training.ingredients import Answers, Comparison
from cfsweep.training.ingredients.feature_distillation import FeatureDistillation
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from tests.training.helpers import NETWORK, few_digits

KIND = "feature-distillation"


@cache
def ingredient_of(layers: str = "") -> FeatureDistillation:
    (ingredient,) = make_pack(small_stream(), (KIND,), feature_layers=layers).context.ingredients
    assert isinstance(ingredient, FeatureDistillation)
    return ingredient


def compared(now: dict[str, Tensor], before: dict[str, Tensor]) -> Comparison:
    n = len(next(iter(now.values())))
    logits, labels = torch.zeros(n, 6), torch.zeros(n, dtype=torch.int64)
    return Comparison(labels, torch.ones(n, 6, dtype=torch.bool), Answers(logits, now), Answers(logits, before))


# ------------------------------------------------------------------------------------------------------- the loss


def test_loss_by_hand() -> None:
    """Squared distances 1 + 4 = 5 and 9 + 16 = 25: half their mean is 7.5. A second layer, of 1 x 2 x 2 features
    that are all off by 2, has 16 in both examples: half of it is 8 more."""
    now = {"body.1": torch.tensor([[1.0, 2.0], [0.0, 0.0]]), "body.3": torch.full((2, 1, 2, 2), 3.0)}
    before = {"body.1": torch.tensor([[0.0, 0.0], [3.0, 4.0]]), "body.3": torch.full((2, 1, 2, 2), 1.0)}
    values = {"feature_weight": torch.tensor(0.2)}
    assert ingredient_of("body.1").distillation_loss(compared(now, before), values, 1).item() == pytest.approx(
        0.2 * 7.5
    )
    both = ingredient_of("body.1, body.3")
    assert both.distillation_loss(compared(now, before), values, 1).item() == pytest.approx(0.2 * 15.5)


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_gradient_are_those_of_the_definition(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"body.1": (6, 5), "body.3": (6, 3, 4, 2)}
    now = {name: torch.randn(shape, generator=rng).requires_grad_(True) for name, shape in shapes.items()}
    before = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    weight = float(torch.rand((), generator=rng))
    loss = ingredient_of("body.1,body.3").distillation_loss(
        compared(now, before), {"feature_weight": torch.tensor(weight)}, 1
    )
    gradients = torch.autograd.grad(loss, list(now.values()))
    total = 0.0
    for name in shapes:
        for new, old in zip(now[name].tolist(), before[name].tolist(), strict=True):
            total += weight * 0.5 / 6 * float(((np.array(new) - np.array(old)) ** 2).sum())
    assert loss.item() == pytest.approx(total, rel=1e-5)
    for gradient, name in zip(gradients, shapes, strict=True):  # d/df ½·w/n·(f - f*)² = w/n·(f - f*)
        torch.testing.assert_close(gradient, weight / 6 * (now[name].detach() - before[name]))


def test_off_adds_nothing_to_any_features() -> None:
    huge = torch.tensor([[3e38, -3e38, torch.inf, -torch.inf, torch.nan]])
    now = huge.clone().requires_grad_(True)
    loss = ingredient_of().distillation_loss(compared({"": now}, {"": -huge}), {"feature_weight": torch.tensor(0.0)}, 1)
    assert loss.item() == 0.0
    assert torch.equal(torch.autograd.grad(loss, now)[0], torch.zeros_like(now))


@pytest.mark.parametrize(
    ("text", "layers"),
    [("", ("",)), (" , ", ("",)), ("body.1", ("body.1",)), (" body.3,body.1 ", ("body.3", "body.1"))],
)
def test_layers_by_name(text: str, layers: tuple[str, ...]) -> None:
    assert ingredient_of(text).layers == layers


def test_bad_values() -> None:
    weight, layers = FeatureDistillation.hypers
    with pytest.raises(InputError, match=r"space\.yaml: `0 <= feature_weight` must hold, but got feature_weight=-1\."):
        weight.check(-1.0, "space.yaml")
    with pytest.raises(InputError, match="`feature_layers` must be names of layers, separated by commas, but got"):
        layers.check(3, "space.yaml")
    with pytest.raises(
        InputError, match=r"`feature_layers`: unknown layer `body\.9`\. Known, closest first: body"
    ) as bad:
        make_pack(small_stream(), (KIND,), feature_layers="body.1,body.9")
    assert "\n" not in str(bad.value)


# ------------------------------------------------------------------------------------------------------ whole runs


def features(network: nn.Module, x: Tensor, layers: list[str]) -> list[Tensor]:
    """What the layers put out; without names, what the layer `head` takes in."""
    seen: list[Tensor] = []
    if layers:
        handles = [
            network.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.append(out)) for name in layers
        ]
    else:
        handles = [cast(nn.Module, network.head).register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))]
    network(x)
    for handle in handles:
        handle.remove()
    return seen


class PlainDistillation(PlainLoop):
    """A copy of the network at the start of a task answers beside it."""

    def train_task(self, number: int) -> None:
        self.before = copy.deepcopy(self.network)
        super().train_task(number)

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        loss = super().batch_loss(indices, learned)
        if learned > 1:
            layers = [name for name in str(self.values["feature_layers"]).split(",") if name]
            with torch.no_grad():
                old = features(self.before, self.x[indices], layers)
            for new, kept in zip(features(self.network, self.x[indices], layers), old, strict=True):
                loss = loss + 0.5 * float(self.values["feature_weight"]) * ((new - kept) ** 2).sum() / len(indices)
        return loss


SMALL_CNN = NetworkConfig(name="cnn", args={"hidden": 16})
CASES = [(NETWORK, "", scenario) for scenario in SCENARIOS]
CASES += [(NETWORK, "body.1,body.3", "class-il"), (SMALL_CNN, "", "class-il"), (SMALL_CNN, "body.2,body.6", "task-il")]


@pytest.mark.parametrize(("network", "layers", "scenario"), CASES)
def test_whole_run_is_that_of_a_plain_loop(network: NetworkConfig, layers: str, scenario: Scenario) -> None:
    given: dict[str, Value] = {"epochs": 2, "batch_size": 32, "optimizer": "sgd", "lr": 0.02}
    run = RunSpec(0, 3, values_of((KIND,), **given, feature_weight=0.3, feature_layers=layers))
    twins_agree((KIND,), PlainDistillation, few_digits(), run, scenario, network, atol=5e-6)


def second_task(weight: float, layers: str = "", **given: Value) -> tuple[Pack, Tensor, float]:
    """A pack that has learned two tasks, its weights after the first, and how far the mean feature then moved."""
    pack = make_pack(small_stream(n_tasks=2), (KIND,), feature_weight=weight, feature_layers=layers, epochs=10, **given)
    context, (first, *_) = pack.context, pack.context.ingredients[0].layers
    x = context.store[torch.from_numpy(pack.stream.tasks[1].train)].unsqueeze(0)

    def seen() -> Tensor:
        return context.lifted.answers(context.layout.unflatten(pack.stack.theta), x, (first,))[1][first]

    pack.train_next_task()
    theta, before = pack.stack.theta.clone(), seen()
    pack.train_next_task()
    return pack, theta, float((seen() - before).abs().mean())


def test_a_larger_weight_keeps_more() -> None:
    changes = [second_task(weight, optimizer="sgd", lr=0.02)[2] for weight in (0.0, 0.03, 0.1, 0.3)]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 3 * changes[-1]


def test_it_pulls_at_no_later_layer_and_trains_no_old_output() -> None:
    """With features of body.1 alone, the gradient of the loss ends at body.1; and old outputs are held as ever."""
    pack, theta, _ = second_task(1.0, "body.1")
    ingredient = pack.context.ingredients[0]
    x = pack.context.store[torch.from_numpy(pack.stream.tasks[1].train)].unsqueeze(0)
    leaves = {k: v.requires_grad_(True) for k, v in pack.context.layout.unflatten(pack.stack.theta.clone()).items()}
    now = pack.context.lifted.answers(leaves, x, ingredient.layers)[1]["body.1"][0]
    before = pack.context.lifted.answers(pack.context.layout.unflatten(theta), x, ingredient.layers)[1]["body.1"][0]
    loss = ingredient.distillation_loss(
        compared({"body.1": now}, {"body.1": before}), {"feature_weight": torch.tensor(1.0)}, 1
    )
    loss.backward()
    reached = {name for name, leaf in leaves.items() if leaf.grad is not None and leaf.grad.any()}
    assert reached == {"body.1.weight", "body.1.bias"}
    old, new = (pack.context.layout.unflatten(t)["head.weight"][0] for t in (theta, pack.stack.theta))
    assert torch.equal(old[:2], new[:2])
    assert not torch.equal(old[2:], new[2:])


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_what_it_keeps_is_counted(weight: float) -> None:
    pack = finish(make_pack(small_stream(), (KIND,), feature_weight=weight))
    assert pack.records[0].stored_bytes == (4 * pack.context.layout.size if weight else 0)
    assert torch.equal(pack.stack.states[KIND]["old"], pack.stack.theta)


def test_an_idle_old_network_leaves_no_trace_in_batch_statistics() -> None:
    def trained(*names: str, **given: Value) -> Pack:
        return finish(make_pack(small_stream(), names, network=UNLIFTABLE, batch_size=6, **given))

    naive = trained()
    for layers in ("", "2,4"):
        off, on = (trained(KIND, feature_weight=weight, feature_layers=layers) for weight in (0.0, 0.3))
        assert_same(naive, off)
        for one, other in zip(naive.context.lifted.module.buffers(), off.context.lifted.module.buffers(), strict=True):
            assert torch.equal(one, other)
        assert on.records[0].failure is None
        assert not torch.equal(weights(naive), weights(on))


def test_runs_of_a_pack_keep_their_own_convolutions() -> None:
    runs = tuple(
        RunSpec(k, 0, values_of((KIND,), feature_weight=weight, feature_layers="body.4, body.7"))
        for k, weight in enumerate((0.0, 0.05, 0.5))
    )
    together = finish(make_pack(small_stream(), (KIND,), runs, network=CNN))
    for k, run in enumerate(runs):
        alone = finish(make_pack(small_stream(), (KIND,), (run,), network=CNN))
        torch.testing.assert_close(weights(alone)[0], weights(together)[k], rtol=1e-3, atol=1e-4)
    assert len({tuple(row.tolist()) for row in weights(together)}) == 3
