"""The networks of torchvision, by name: `torchvision:resnet18`."""

from __future__ import annotations

from typing import Any

from torch import nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError, first_line, unknown
from cfsweep.training.networks._head import head_of
from cfsweep.training.networks._own import require_outputs

PREFIX = "torchvision:"
_DOWNLOADED = ("weights", "weights_backbone", "progress")  # arguments by which torchvision would go to the network


def is_torchvision(name: str) -> bool:
    """Whether a network's name means one of torchvision."""
    return name.startswith(PREFIX)


def torchvision_network(config: NetworkConfig, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """The network of torchvision that `config.name` means, drawn, with an output layer of `n_outputs`; its factory gets
    `config.args`. Nothing is downloaded: published weights are a file, `network.init`.

    Raises:
        InputError: there is none of this name, it does not take the arguments or the examples, or its output layer is
            no `nn.Linear`.
    """
    from torchvision import models

    where, name = f"network `{config.name}`", config.name.removeprefix(PREFIX)
    known = models.list_models(module=models)
    if name not in known:
        raise unknown(where, "network of torchvision", name, known)
    if given := [arg for arg in _DOWNLOADED if arg in config.args]:
        raise InputError(f"{where}: `{given[0]}` would download. Name a file with `network.init` instead.")
    args: dict[str, Any] = {"num_classes": n_outputs, **config.args}
    try:
        module: nn.Module = models.get_model(name, weights=None, **args)
    except Exception as error:  # torchvision's networks check their arguments each in its own way
        raise InputError(f"{where}: its arguments {args} do not fit ({first_line(error)}). Change them.") from error
    require_outputs(module, input_shape, n_outputs, where)
    head_of(module, n_outputs)
    return module
