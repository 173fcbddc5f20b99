"""Networks: the built-in ones and your own.

`build(NetworkConfig(name=...), input_shape, n_outputs)` gives the `nn.Module`; `registry` lists the built-in ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError, unknown
from cfsweep.training.networks._head import head_of
from cfsweep.training.networks._held import hold
from cfsweep.training.networks._init import begin_with_init, first_weights, init_note, noted, take_in
from cfsweep.training.networks._lift import seeded_constants, unliftable_reason
from cfsweep.training.networks._own import own_network
from cfsweep.training.networks._replaceable import ties_weights, unreplaceable_reason
from cfsweep.training.networks._torchvision import PREFIX, is_torchvision, torchvision_network
from cfsweep.training.networks._weights import plain_tensors, prefix_of, read_weights
from cfsweep.training.networks.cnn import Cnn
from cfsweep.training.networks.mlp import Mlp, linear
from cfsweep.training.networks.resnet import ResNet18Slim
from cfsweep.training.plugins import installed, path_of

__all__ = [
    "BuiltinNetwork",
    "build",
    "execution_reason",
    "first_weights",
    "head_of",
    "init_note",
    "noted",
    "own_path",
    "plain_tensors",
    "prefix_of",
    "read_weights",
    "registry",
    "seeded_constants",
    "single_reason",
    "take_in",
    "ties_weights",
    "unliftable_reason",
    "unreplaceable_reason",
    "unstackable_reason",
]


@dataclass(frozen=True)
class BuiltinNetwork:
    """A built-in network: one line for the user, and its factory, whose keyword arguments are the network's `args`."""

    doc: str
    factory: Callable[..., nn.Module]

    @property
    def args(self) -> dict[str, object]:
        """The names of the network's own arguments, with their defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in ("input_shape", "n_outputs")}


registry: dict[str, BuiltinNetwork] = {
    "mlp": BuiltinNetwork("fully connected with ReLU; hidden: layer sizes (256, 256)", Mlp),
    "linear": BuiltinNetwork("the output layer alone, for features of an encoder", linear),
    "cnn": BuiltinNetwork("two convolutions (32, 64) and a layer of `hidden` (128) units", Cnn),
    "resnet18-slim": BuiltinNetwork("ResNet-18 with group norm; width (20), groups (4)", ResNet18Slim),
}


def build(config: NetworkConfig, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """A fresh network that maps (n, *input_shape) float32 to (n, n_outputs) float32.

    Its weights come from torch's global random numbers: seed them first. Then come those of `config.init`, and what
    `config.freeze` names is held.

    Raises:
        InputError: the network or one of its arguments is unknown, or does not fit the input; or `init` does not fit
            the network, or a pattern of `freeze` nothing in it.

    >>> head_of(build(NetworkConfig(name="mlp", args={"hidden": [8]}), (1, 8, 8), 10), 10)
    'head'
    """
    if config.channels_last and len(input_shape) != 3:
        raise InputError(
            f"network `{config.name}`: `channels_last` lays out images (channels, height, width), but the stream's "
            f"examples have the shape {input_shape}. Leave it out."
        )
    module = _drawn(config, input_shape, n_outputs)
    begin_with_init(module, head_of(module, n_outputs), config)
    hold(module, config.freeze)
    return module


def single_reason(
    config: NetworkConfig, make: Callable[[], nn.Module], made: nn.Module, input_shape: tuple[int, ...]
) -> str | None:
    """Why runs of `made`, a network of `config` that `make` gives, are trained one at a time, in one line; None if they
    need not be."""
    return unstackable_reason(config, make, made, input_shape) or execution_reason(config)


def execution_reason(config: NetworkConfig) -> str | None:
    """Why runs of a network that can be stacked are trained one at a time all the same, in one line."""
    asked = next(iter(config.execution), None)
    return None if asked is None else f"network.{asked} is for runs that are trained one at a time"


def unstackable_reason(
    config: NetworkConfig, make: Callable[[], nn.Module], made: nn.Module, input_shape: tuple[int, ...]
) -> str | None:
    """Why runs of `made`, a network of `config` that `make` gives, cannot be one stack, in one line; None if they
    can."""
    reason = unliftable_reason(made, input_shape)
    if reason is not None or (config.init is None and config.init_sha256 is not None):
        return reason  # in a bundle what is not trained is what the file held once, whatever is drawn here
    return seeded_constants(make, made, input_shape)


def own_path(name: str) -> str | None:
    """The import path of a network that is the user's own, or of an installed package; None for any other."""
    return None if name in registry or is_torchvision(name) else path_of("networks", name)


def _drawn(config: NetworkConfig, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    if is_torchvision(config.name):
        return torchvision_network(config, input_shape, n_outputs)
    if config.name not in registry:
        path = own_path(config.name)
        if path is None:
            raise unknown("network", "network", config.name, [*registry, f"{PREFIX}NAME", *installed("networks")])
        return own_network(config, path, input_shape, n_outputs)
    entry = registry[config.name]
    for name in config.args:
        if name not in entry.args:
            raise unknown(f"network `{config.name}`", "argument", name, entry.args)
    return entry.factory(input_shape, n_outputs, **config.args)
