"""A frozen encoder of one's own: examples, or texts, become features once, before anything is trained."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cfsweep.errors import InputError, first_line
from cfsweep.training import own_code
from cfsweep.training.plugins import contained, current_folder_importable, imported, installed, path_of
from cfsweep.training.streams._base import EncoderInfo
from cfsweep.training.streams._feature_cache import cached, digest, of_weights
from cfsweep.visible import tell

BATCH = 128  # examples that pass through the encoder at once
ROUNDING = 1e-3  # by which features of the same examples may differ from call to call, of the largest one

Raw = Tensor | Sequence[str]
"""Examples (n, *input_shape), uint8 or float32, or n texts."""


@dataclass(frozen=True)
class Encoder:
    """What turns examples into features; `sha256` is of its code, its weights and its arguments."""

    name: str
    args: Mapping[str, Any]
    run: Callable[[Any], Any]
    sha256: str
    device: torch.device

    def features(self, raw: Raw) -> Tensor:
        """(n, d) float32, on the CPU, in batches.

        Raises:
            InputError: it fails, or what it gives is of another shape, not finite, or not the same twice.
        """
        found: list[Tensor] = []
        for start in range(0, len(raw), BATCH):
            batch = raw[start : start + BATCH]
            found.append(self._checked(batch, start, found[0].shape[1] if found else None))
            if not start:
                self._require_same(found[0], self._checked(batch, start, None))
        if not found:
            raise InputError(f"{self._where}: there must be examples, but there is none. Give some.")
        return torch.cat(found)

    @property
    def _where(self) -> str:
        return f"encoder `{self.name}`"

    def _checked(self, batch: Raw, start: int, width: int | None) -> Tensor:
        """The features of the examples of a batch, the first of which has the number `start`."""
        given = batch.to(self.device) if isinstance(batch, Tensor) else list(batch)
        try:
            with contained(), torch.no_grad():
                returned = self.run(given)
            features = returned if isinstance(returned, Tensor) else torch.from_numpy(np.asarray(returned, np.float32))
            features = features.detach().to("cpu", torch.float32)
        except InputError:
            raise
        except Exception as error:  # the user's encoder may raise anything
            raise InputError(f"{self._where}: it failed ({first_line(error)}). Call it to see more.") from error
        if (
            features.dim() != 2
            or not features.shape[1]
            or len(features) != len(batch)
            or features.shape[1] != (width or features.shape[1])
        ):
            wanted = f"({len(batch)}, {width or 'd'})"
            raise InputError(
                f"{self._where}: for {len(batch)} examples it must return {wanted}, but returned "
                f"{tuple(features.shape)}. Flatten or pool what it gives."
            )
        finite = features.isfinite().all(1)
        if not bool(finite.all()):
            number = start + int(finite.to(torch.int8).argmin())
            raise InputError(
                f"{self._where}: its features must be finite, but those of example {number} (from 0) are not. "
                "Look at that example, or at the scale that the encoder expects."
            )
        return features

    def _require_same(self, once: Tensor, again: Tensor) -> None:
        apart, allowed = float((once - again).abs().max()), ROUNDING * float(once.abs().max())
        if apart > allowed:
            raise InputError(
                f"{self._where}: called twice it must return the same, but its features are {apart:.2g} apart. "
                "Switch off dropout, augmentation and whatever else is random in it."
            )


def open_encoder(name: str, args: Mapping[str, Any]) -> Encoder:
    """The encoder that the function `name`, `package.module:function` or an entry point, returns for `args`: an
    `nn.Module`, which is put into evaluation mode on a GPU if there is one, or a callable.

    Raises:
        InputError: there is no such function, it fails, or it returns something else.
    """
    where, path = f"encoder `{name}`", path_of("encoders", name)
    if path is None:
        listed = ", ".join(installed("encoders"))
        known = f" Installed packages have {listed}." if listed else ""
        raise InputError(
            f"{where}: an encoder is named `package.module:function`, such as cfsweep.encoders:torchvision, but got "
            f"`{name}`. Give both parts.{known}"
        )
    with current_folder_importable():
        function = imported(path, where)
        try:
            inspect.signature(function).bind(**args)
        except TypeError as error:
            raise InputError(f"{where}: its arguments do not fit ({error}). Change `encoder_args`.") from error
        try:
            with contained():
                found = function(**args)
        except InputError:
            raise
        except Exception as error:  # the user's function may raise anything
            raise InputError(f"{where}: the function failed ({first_line(error)}). Call it to see more.") from error
    device = torch.device("cpu")
    if isinstance(found, nn.Module):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        found = found.eval().requires_grad_(False).to(device)
    if not callable(found):
        raise InputError(
            f"{where}: the function must return an nn.Module or a callable, but returned {type(found).__name__}. "
            "Return what turns a batch into features (n, d)."
        )
    return Encoder(name, dict(args), found, _sha256(name, args, function, found), device)


def encoded(name: str, args: Mapping[str, Any], raw: Raw) -> tuple[Tensor, EncoderInfo]:
    """The features (n, d) of all examples of a stream, from the cache if they are there, and which encoder they are of.

    Raises:
        InputError: as `open_encoder` and `Encoder.features`, or the cache cannot be written.
    """
    encoder = open_encoder(name, args)
    # Devices and versions round differently, so that what one has made is none of another's.
    rounds = torch.cuda.get_device_name() if encoder.device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    key = _hash([encoder.sha256, _of_raw(raw), rounds, torch.__version__])
    return cached(key, lambda: encoder.features(raw), tell), info_of(encoder, raw)


def info_of(encoder: Encoder, raw: Raw) -> EncoderInfo:
    """What is to be known of an encoder, and of examples as it gets them."""
    shape, dtype = None, None
    if isinstance(raw, Tensor):
        shape, dtype = tuple(raw.shape[1:]), str(raw.dtype).removeprefix("torch.")
    return EncoderInfo(
        name=encoder.name, args=dict(encoder.args), sha256=encoder.sha256, input_shape=shape, input_dtype=dtype
    )


def _sha256(name: str, args: Mapping[str, Any], function: Callable[..., Any], found: object) -> str:
    modules = dict.fromkeys([function.__module__, *own_code.modules_of(type(found))])
    sources = {file: of or "" for file, of in own_code.digests(modules).items()}
    weights = [of_weights(dict(module.state_dict())) for module in _modules_in(found)]
    return _hash([name, dict(args), sources, weights])


def _modules_in(found: object) -> list[nn.Module]:
    """The modules whose weights an encoder has: itself, or what it holds as an attribute or in its closure."""
    if isinstance(found, nn.Module):
        return [found]
    cells = [cell.cell_contents for cell in getattr(found, "__closure__", None) or ()]
    held = [*getattr(found, "__dict__", {}).values(), *cells, getattr(found, "__self__", None)]
    return [value for value in held if isinstance(value, nn.Module)]


def _of_raw(raw: Raw) -> str:
    return digest(raw.numpy()) if isinstance(raw, Tensor) else _hash(list(raw))


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()
