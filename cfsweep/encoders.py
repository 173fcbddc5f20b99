"""Ready encoders, for `--encoder`: torchvision's networks with weights from a file. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cfsweep.errors import InputError, few, first_line, unknown
from cfsweep.files import expanded

WHERE = "encoder `cfsweep.encoders:torchvision`"


def torchvision(model: str, weights: str, size: int | None = None, entry: str = "DEFAULT") -> nn.Module:
    """What maps images (n, 1 or 3, height, width), uint8 or float32 in [0, 1], to the features (n, d) that go into the
    last linear layer of torchvision's `model`.

    `weights` is a file with its state dict. Images are resized, cropped and normalised as torchvision does for the
    model's weights `entry`, such as `IMAGENET1K_V1`; with `size` their shorter side gets so many pixels instead, and
    the square in the middle is all that is seen. Those of one channel get three equal ones.

    References:
        https://docs.pytorch.org/vision/stable/models.html (the transforms that belong to weights).

    Raises:
        InputError: there is no such model or entry, or the file does not hold its weights.
    """
    from torchvision import models

    if model not in models.list_models(module=models):
        raise unknown(WHERE, "model", model, models.list_models(module=models))
    network: nn.Module = models.get_model(model, weights=None)
    name, head = _head(network, model)
    _load(network, _state_in(expanded(weights)), f"{name}.", model)
    network.set_submodule(name, nn.Identity())
    return _Encoder(network, _preset(models.get_model_weights(model), model, size, entry), head.in_features)


class _Encoder(nn.Module):
    """Transforms, then the network without its head."""

    def __init__(self, network: nn.Module, preset: Any, n_features: int) -> None:
        super().__init__()
        self.network, self.preset, self.n_features = network, preset, n_features

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] not in (1, 3):
            raise InputError(
                f"{WHERE}: images must be (n, 1 or 3, height, width), but got {tuple(x.shape)}. Convert them."
            )
        if x.dtype != torch.uint8 and (float(x.min()) < 0 or float(x.max()) > 1):
            raise InputError(
                f"{WHERE}: images of type {x.dtype} must lie in [0, 1], but are between {float(x.min()):.4g} and "
                f"{float(x.max()):.4g}. Give uint8, or divide them."
            )
        found: Tensor = self.network(self.preset(x.expand(-1, 3, -1, -1)))
        return found


def _head(network: nn.Module, model: str) -> tuple[str, nn.Linear]:
    """The last linear layer, and its name."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise InputError(f"{WHERE}: `{model}` has no linear layer before its answers. Take another model.")
    return layers[-1]


def _preset(weights: Any, model: str, size: int | None, entry: str) -> Any:
    """The transforms of the model's weights `entry`."""
    if entry not in weights.__members__:
        raise unknown(f"{WHERE}, model `{model}`", "entry", entry, list(weights.__members__))
    preset = weights[entry].transforms
    if size is None:
        return preset()
    if size < 1:
        raise InputError(f"{WHERE}: `size >= 1` must hold, but got size={size}. The model's own is the default.")
    return preset(crop_size=size, resize_size=size)


def _state_in(path: Path) -> dict[str, Tensor]:
    """The tensors by name in the file; nothing but tensors is unpickled."""
    if not path.is_file():
        raise InputError(f"{WHERE}: there is no file {path}. Give the file of a state dict as `weights`.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(f"{WHERE}: {path} cannot be read ({first_line(error)}). Give a state dict.") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{WHERE}: {path} must hold a state dict, tensors by name. Save `model.state_dict()`.")
    return content


def _load(network: nn.Module, state: dict[str, Tensor], head: str, model: str) -> None:
    """Gives the network these weights; those of its `head`, which is cut off, may be any, or missing.

    Raises:
        InputError: others do not match, with the first of each kind.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    given = {name: value for name, value in state.items() if not name.startswith(head)}
    misfits = {
        "missing": sorted(own.keys() - given.keys()),
        "not of the model": sorted(given.keys() - own.keys()),
        "of another shape": sorted(n for n in own.keys() & given.keys() if own[n].shape != given[n].shape),
    }
    if any(misfits.values()):
        said = "; ".join(f"{len(names)} {kind} ({few(names)})" for kind, names in misfits.items() if names)
        raise InputError(f"{WHERE}: the file must hold all weights of `{model}`, but {said}. Give its own file.")
    network.load_state_dict(given, strict=False)
