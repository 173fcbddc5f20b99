"""The three ways to evaluate a network for every run give what forward hooks on each run's own module see."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import CNN, MLP, SHAPE, UNLIFTABLE
from cfsweep.training.engine.layout import Layout
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.networks import build

LINEAR = NetworkConfig(name="mlp", args={"hidden": []})
WAYS = {
    "mlp": (MLP, ("_batched", "_one_by_one", "_by_vmap"), ("", "body.1", "body.2", "body.3", "head")),
    "linear": (LINEAR, ("_batched", "_one_by_one", "_by_vmap"), ("", "head")),
    "cnn": (CNN, ("_one_by_one", "_by_vmap"), ("", "body.0", "body.4", "body", "head")),
}
CASES = [(name, way) for name, (_, ways, _) in WAYS.items() for way in ways]
N_RUNS = 3


def lifted_of(network: NetworkConfig, liftable: bool = True) -> tuple[Lifted, list[nn.Module], dict[str, Tensor]]:
    """The lifted network, a module with the weights of each run, and the weights (N_RUNS, *shape) by name."""
    torch.manual_seed(0)
    modules = [build(network, SHAPE, 6) for _ in range(N_RUNS)]
    stacked = {
        name: torch.stack([m.get_parameter(name).detach() for m in modules]).requires_grad_(True)
        for name, _ in modules[0].named_parameters()
    }
    module = copy.deepcopy(modules[0])
    return Lifted(module, liftable, Layout(module, 6).head), modules, stacked


def by_hooks(module: nn.Module, x: Tensor, layers: tuple[str, ...], head: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits and features of one plain module."""
    seen: dict[str, Tensor] = {}
    handles = [
        module.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name in layers
        if name
    ]
    before_head = module.get_submodule(head).register_forward_pre_hook(lambda _m, inputs: seen.update({"": inputs[0]}))
    logits = module(x)
    for handle in (*handles, before_head):
        handle.remove()
    return logits, {name: seen[name] for name in layers}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("name", "way"), CASES)
def test_logits_features_and_their_gradients_are_those_of_each_module(name: str, way: str, shared: bool) -> None:
    network, _, layers = WAYS[name]
    lifted, modules, stacked = lifted_of(network)
    x = torch.randn(5, *SHAPE) if shared else torch.randn(N_RUNS, 5, *SHAPE)
    logits, features = getattr(lifted, way)(stacked, x, layers, shared)
    assert set(features) == set(layers)
    (logits.sum() + sum(feature.square().sum() for feature in features.values())).backward()
    for run, module in enumerate(modules):
        expected, seen = by_hooks(module, x if shared else x[run], layers, lifted.head)
        torch.testing.assert_close(logits[run], expected, rtol=1e-4, atol=1e-5)
        for layer in layers:
            assert features[layer].shape == (N_RUNS, *seen[layer].shape)
            torch.testing.assert_close(features[layer][run], seen[layer], rtol=1e-4, atol=1e-5)
        (expected.sum() + sum(feature.square().sum() for feature in seen.values())).backward()
        for key, parameter in module.named_parameters():
            torch.testing.assert_close(stacked[key].grad[run], parameter.grad, rtol=1e-3, atol=1e-4)  # type: ignore[index]


@pytest.mark.parametrize("network", [MLP, LINEAR, CNN], ids=["mlp", "linear", "cnn"])
def test_no_name_stands_for_the_input_of_the_output_layer(network: NetworkConfig) -> None:
    lifted, _, stacked = lifted_of(network)
    logits, features = lifted.answers(stacked, torch.randn(N_RUNS, 5, *SHAPE), ("",))
    assert list(features) == [""]
    again = torch.baddbmm(stacked["head.bias"].unsqueeze(1), features[""], stacked["head.weight"].mT)
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "liftable", "layers", "way"),
    [
        (MLP, True, ("", "body.1"), "_batched"),
        (MLP, True, ("body.0",), "_one_by_one"),  # the plain stack has no such step
        (MLP, True, ("body",), "_one_by_one"),
        (MLP, False, ("",), "_one_by_one"),
        (CNN, True, ("",), "_one_by_one"),
    ],
)
def test_the_way_fits_the_network_and_the_layers(
    network: NetworkConfig, liftable: bool, layers: tuple[str, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifted, modules, stacked = lifted_of(network, liftable)
    taken: list[str] = []
    for each in ("_batched", "_one_by_one", "_by_vmap"):
        original = getattr(lifted, each)
        monkeypatch.setattr(lifted, each, lambda *a, f=original, name=each: taken.append(name) or f(*a))
    x = torch.randn(N_RUNS, 5, *SHAPE)
    _, features = lifted.answers(stacked, x, layers)
    assert taken == [way]
    for run, module in enumerate(modules):
        for layer, feature in by_hooks(module, x[run], layers, lifted.head)[1].items():
            torch.testing.assert_close(features[layer][run], feature, rtol=1e-4, atol=1e-5)


def test_a_network_that_cannot_be_lifted_answers_for_its_one_run() -> None:
    torch.manual_seed(0)
    module = build(UNLIFTABLE, SHAPE, 6).eval()
    lifted = Lifted(module, False, Layout(module, 6).head)
    x = torch.randn(1, 5, *SHAPE)
    logits, features = lifted.answers({k: p.unsqueeze(0) for k, p in module.named_parameters()}, x, ("", "1", "2"))
    expected, seen = by_hooks(module, x[0], ("", "1", "2"), lifted.head)
    assert torch.equal(logits[0], expected)
    assert all(torch.equal(features[layer][0], seen[layer]) for layer in ("", "1", "2"))


def test_no_hook_stays_behind() -> None:
    lifted, _, stacked = lifted_of(CNN)
    lifted.answers(stacked, torch.randn(N_RUNS, 5, *SHAPE), ("", "body.1"))
    with pytest.raises(RuntimeError):  # two channels where there is one
        lifted.answers(stacked, torch.randn(N_RUNS, 5, 2, 6, 6), ("", "body.1"))
    for layer in lifted.module.modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_hook_on_the_way_back_is_heeded(register: str) -> None:
    """A plain stack goes back without autograd, which would never call it."""
    calls: list[str] = []
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert Lifted(module, True).stack is not None
    getattr(module[3], register)(lambda *_: calls.append(register))
    lifted = Lifted(module, True)
    assert lifted.stack is None
    parameters = {name: p.detach().unsqueeze(0) for name, p in module.named_parameters()}
    traced = lifted.traced(lifted.weights(parameters), torch.randn(1, 5, 4), ())
    into = lifted.weights({name: torch.zeros_like(p) for name, p in parameters.items()})
    traced.vjp(torch.ones(1, 5, 2), {}, into)
    assert calls == [register]
    assert all(bool(gradient.any()) for gradient in into.by_name.values())
