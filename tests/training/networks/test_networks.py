"""The built-in networks, your own ones, the output layer, and what vmap can lift."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.training.networks import _lift, build, head_of, registry, unliftable_reason
from cfsweep.training.networks.mlp import Mlp
from cfsweep.training.precision import matmul_precision

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


def make(name: str, shape: tuple[int, ...] = (1, 8, 8), n_outputs: int = 10, **args: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(NetworkConfig(name=name, args=args), shape, n_outputs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(registry))
def test_builtin_networks_map_images_to_logits_and_can_be_lifted(name: str, shape: tuple[int, ...]) -> None:
    network = make(name, shape, 7)
    assert network(torch.randn(3, *shape)).shape == (3, 7)
    assert head_of(network, 7) == "head"
    assert unliftable_reason(network, shape) is None
    assert registry[name].doc


def test_the_same_seed_gives_the_same_weights() -> None:
    for name in registry:
        first, second = make(name).state_dict(), make(name).state_dict()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_sizes_are_those_of_the_sources() -> None:
    def n_parameters(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert n_parameters(make("mlp", (784,))) == 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert n_parameters(make("mlp", (5,), 2, hidden=[])) == 5 * 2 + 2
    assert n_parameters(make("cnn", (1, 28, 28))) == 1_199_882  # the number PyTorch's MNIST example has
    slim = make("resnet18-slim", (3, 32, 32), 100)
    assert n_parameters(slim) == 1_109_240  # the reduced ResNet-18 of the GEM paper, 100 classes
    assert sum(isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) for layer in slim.modules()) == 17


@pytest.mark.parametrize(
    ("name", "args", "shape", "line"),
    [
        ("mpl", {}, (4,), "unknown network `mpl`. Known, closest first: mlp"),
        ("mlp", {"hiden": [3]}, (4,), "unknown argument `hiden`. Known, closest first: hidden."),
        ("mlp", {"hidden": 3}, (4,), r"`hidden` must be a list, but got 3. Write `\[3\]`"),
        ("mlp", {"hidden": [3, 0]}, (4,), r"`hidden\[1\]` must be a whole number >= 1, but got 0"),
        ("mlp", {"hidden": [True]}, (4,), "but got True"),
        ("cnn", {"hidden": -1}, (1, 8, 8), "`hidden` must be a whole number >= 1, but got -1"),
        (
            "cnn",
            {},
            (28, 28, 1),
            r"have the shape \(28, 28, 1\). If the channels come last, move that axis first: an",
        ),
        ("cnn", {}, (12, 12, 3), r"move that axis first: an image x is \(n, channels, height, width\)"),
        ("cnn", {}, (16, 12, 4), r"move that axis first: an image x is \(n, channels, height, width\)"),
        ("cnn", {}, (3, 4, 5), r"have the shape \(3, 4, 5\). Use `mlp`"),
        ("cnn", {}, (64,), r"needs images .* have the shape \(64,\). Use `mlp`"),
        ("cnn", {}, (1, 5, 8), "sides >= 6"),
        ("mlp", {"hidden": [10**12]}, (4,), r"it would have 1.5e\+13 parameters, and there is memory here for"),
        ("mlp", {"hidden": [10**20, 10**20]}, (4,), r"it would have 1e\+40 parameters"),
        ("mlp", {"hidden": [1] * 2000}, (4,), "`hidden` has 2000 layers, and 1000 are the most"),
        ("cnn", {"hidden": 10**12}, (1, 8, 8), "parameters, and there is memory here for"),
        ("resnet18-slim", {"width": 4 * 10**6}, (1, 8, 8), "parameters, and there is memory here for"),
        ("resnet18-slim", {"width": 6}, (1, 8, 8), "`groups` must divide `width`, but got groups=4, width=6"),
    ],
)
def test_bad_networks_are_refused_in_one_line(
    name: str, args: dict[str, Any], shape: tuple[int, ...], line: str
) -> None:
    with pytest.raises(InputError, match=line) as caught:
        make(name, shape, **args)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ the output layer


def test_images_alone_are_laid_out_with_channels_last() -> None:
    laid_out = NetworkConfig(name="mlp", channels_last=True)
    build(laid_out, (3, 8, 8), 2)
    with pytest.raises(InputError, match=r"`channels_last` lays out images .* have the shape \(4,\)\. Leave it out"):
        build(laid_out, (4,), 2)


def test_head_is_the_attribute_head_else_the_last_fitting_layer() -> None:
    both = nn.ModuleDict({"head": nn.Linear(3, 2), "aux": nn.Linear(3, 2)})
    assert head_of(both, 2) == "head"
    assert head_of(nn.ModuleDict({"head": nn.Linear(3, 5), "out": nn.Linear(3, 2)}), 2) == "out"
    assert head_of(nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2))), 2) == "1.0"
    for without in (nn.Sequential(nn.Linear(3, 4)), nn.Linear(3, 2)):  # a bare layer is no layer *of* a module
        with pytest.raises(InputError, match=r"nn.Linear with 2 outputs inside the module, but there is none"):
            head_of(without, 2)


# --------------------------------------------------------------------------------------------------------- lifting


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros(4, 2))


class Counts(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return self.head(x)


class Branches(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) if x.mean() > 0 else self.head(-x)


class Item(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) * x.abs().max().item()


class Selects(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[x[:, 0] > -100])


class Noise(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + torch.randn(2)


class InPlace(Base):
    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 2)
        out += self.head(x)
        return out


class Forgets(Base):
    """Its answer hangs on a Python attribute, which is no part of the stacked state."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return self.head(x) * self.calls


class Numpy(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + torch.from_numpy(x.detach().numpy()[:, :2])


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "changes the buffer `0.running_mean` .* BatchNorm"),
        (Counts(), "changes the buffer `steps`"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 2)), "draws random numbers while training .as dropout"),
        (Noise(), "draws random numbers"),
        (Branches(), "control flow depends on the values"),
        (Item(), "depends on the values|reads the value"),
        (Selects(), "the shape of one of its tensors depends on values"),
        (InPlace(), "changes a tensor in place"),
        (Forgets(), "its answers to the same examples change from call to call"),
        (Numpy(), "torch.func cannot lift it .RuntimeError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_networks_that_cannot_be_lifted_are_named_with_the_reason(network: nn.Module, reason: str) -> None:
    found = unliftable_reason(network, (4,))
    assert found is not None
    assert "\n" not in found
    assert re.search(reason, found)


def test_networks_that_can_be_lifted_despite_their_looks() -> None:
    frozen = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    frozen[0].requires_grad_(False)
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.Linear(4, 2))
    tied[2].weight = tied[0].weight
    batch_statistics = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2))
    for network in (frozen, tied, batch_statistics, nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 2))):
        assert unliftable_reason(network, (4,)) is None


def test_the_trial_multiplies_exactly_whatever_torch_is_told() -> None:
    """With tf32 on a GPU, the gradients of resnet18-slim are 0.013 apart: rounding, taken for copies that mix."""
    seen = set[str]()

    class Telling(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            seen.add(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]
            return super().forward(input)

    with matmul_precision("tf32"):
        assert unliftable_reason(Telling(4, 2), (4,)) is None
    assert seen == {"ieee"}


def test_a_plain_mlp_needs_no_trial_and_would_pass_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def tried(copies: list[nn.Module], x: torch.Tensor) -> None:
        raise RuntimeError("tried")

    plain, changed = Mlp((1, 4, 4), 3, (5,)), Mlp((1, 4, 4), 3, (5,))
    changed.body.append(nn.Dropout())
    copies = [deepcopy(plain), Mlp((1, 4, 4), 3, (5,))]
    assert _lift._reason(copies, torch.randn(2, 4, 1, 4, 4)) is None
    assert "random numbers" in str(unliftable_reason(changed, (1, 4, 4)))
    monkeypatch.setattr(_lift, "_reason", tried)
    assert unliftable_reason(plain, (1, 4, 4)) is None
    assert "tried" in str(unliftable_reason(changed, (1, 4, 4)))


def test_trying_to_lift_leaves_the_network_and_the_random_numbers_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    before, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    unliftable_reason(network, (4,))
    assert torch.equal(torch.get_rng_state(), random)
    assert not network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


# ---------------------------------------------------------------------------------------------------- your own ones

OWN = """
import torch
from torch import nn

def good(input_shape, n_outputs, width=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.Linear(width, n_outputs))

def normed(input_shape, n_outputs):
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, n_outputs))

def raises(input_shape, n_outputs):
    raise ValueError("no such luck\\nsecond line")

def nothing(input_shape, n_outputs):
    return None

def narrow(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(4, n_outputs - 1))

def other_input(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(5, n_outputs))

def headless(input_shape, n_outputs):
    return nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv1d(4, n_outputs, 1), nn.Flatten())
"""


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cfsweep_own_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_networks")
def test_an_own_factory_in_the_current_folder_is_built_as_when_called_by_hand() -> None:
    network = make("cfsweep_own_networks:good", (4,), 2, width=5)
    torch.manual_seed(0)
    by_hand = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 2)).state_dict()
    assert all(torch.equal(by_hand[key], value) for key, value in network.state_dict().items())
    assert head_of(network, 2) == "2"
    normed = make("cfsweep_own_networks:normed", (4,), 2)
    assert normed.training
    assert int(normed[0].num_batches_tracked) == 0  # type: ignore[index]


@pytest.mark.usefixtures("own_networks")
@pytest.mark.parametrize(
    ("function", "args", "line"),
    [
        ("good", {"widht": 3}, r"do not fit .*'widht'.* It takes \(input_shape, n_outputs, width=3\)"),
        ("raises", {}, r"the function failed \(ValueError: no such luck\)"),
        ("nothing", {}, "must return a torch.nn.Module, but returned NoneType"),
        ("narrow", {}, r"must have the shape \(2, 3\), but is \(2, 2\)"),
        ("other_input", {}, r"examples of the shape \(n, 4\), but failed \(RuntimeError"),
        ("headless", {}, "nn.Linear with 3 outputs inside the module, but there is none"),
        ("goood", {}, "unknown function in module `cfsweep_own_networks` `goood`. Known, closest first: good"),
        ("", {}, "named `package.module:function`"),
    ],
)
def test_bad_own_factories_are_refused_in_one_line(function: str, args: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        make(f"cfsweep_own_networks:{function}", (4,), 3, **args)
    assert "\n" not in str(caught.value)


def test_the_example_is_a_network_that_can_be_lifted() -> None:
    network = make("examples.own_network:build", (1, 8, 8), 10, width=16)
    assert head_of(network, 10) == "head"
    assert unliftable_reason(network, (1, 8, 8)) is None
