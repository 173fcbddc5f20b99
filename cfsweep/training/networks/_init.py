"""A network that begins with weights from a file instead of those that it draws (`network.init`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError, few
from cfsweep.files import expanded
from cfsweep.training.networks._weights import prefix_of, read_weights

# Counts the batches of a norm, which nothing goes by; files of older versions of torch have none.
_COUNTER = "num_batches_tracked"


class Misfit(NamedTuple):
    """How a file and a network differ: the names that the file `lacks`, those that are `strange` to the network, and
    those of which the tensors have `other_shapes`."""

    lacks: tuple[str, ...]
    strange: tuple[str, ...]
    other_shapes: tuple[str, ...]


class FirstWeights(NamedTuple):
    """The tensors in a file of weights, by name, and its SHA-256."""

    sha256: str
    tensors: dict[str, Tensor]


_SENT: dict[str, dict[str, Tensor]] = {}  # by SHA-256, what has come from the driver


def noted(network: NetworkConfig) -> NetworkConfig:
    """`network` with the SHA-256 of its `init`, by which another file of this name is told from it.

    Raises:
        InputError: it has one already, of another file or of none; or the file cannot be read.
    """
    if network.init is not None:
        return network.model_copy(update={"init_sha256": _read(network)[1]})
    if network.init_sha256 is not None:
        raise InputError(
            f"network.init_sha256 {network.init_sha256[:12]}: it must be of a file, but none is named. Name it with "
            "`network.init`, or leave both out."
        )
    return network


def first_weights(network: NetworkConfig) -> FirstWeights | None:
    """What `network.init` holds, and its SHA-256, to be sent to another machine; None where there is no such file.

    Raises:
        InputError: it cannot be read, or is another one than was noted.
    """
    if network.init is None:
        return None
    found, digest = _read(network)
    return FirstWeights(digest, dict(found))


def take_in(weights: FirstWeights | None) -> None:
    """Has this process know weights that were sent to it: it needs no file of them."""
    _SENT.clear()
    if weights is not None:
        _SENT[weights.sha256] = weights.tensors


def begin_with_init(module: nn.Module, head: str, network: NetworkConfig) -> None:
    """Gives `module` the weights and statistics of the file `network.init`, by name, if there is one. Where the output
    layer `head` has another shape there, or is not there, it stays as it was drawn.

    Raises:
        InputError: the file cannot be read or is another one than was noted, or its weights are those of another
            network, no floating-point numbers, or not finite.
    """
    if network.init is None:
        return
    found, _ = _read(network)
    where, left = f"network.init {network.init}", head_left(module, head, found)
    own = _own(module)
    misfit = misfit_of(module, found, () if left is None else _names_of(module, head))
    if any(misfit):
        raise InputError(_said(where, network, own, found, misfit))
    with torch.no_grad():
        for name in own.keys() & found.keys():
            if left is None or name not in _names_of(module, head):
                own[name].copy_(_checked(found[name], own[name], name, where))


def init_note(module: nn.Module, head: str, network: NetworkConfig) -> str | None:
    """That the output layer `head` of `module` is drawn though other weights come from `network.init`, and why, in one
    line; None where it is not.

    Raises:
        InputError: as `begin_with_init`.
    """
    return None if network.init is None else head_left(module, head, _read(network)[0])


def head_left(module: nn.Module, head: str, found: Mapping[str, Tensor]) -> str | None:
    """Why the output layer `head` cannot be had from the weights that were `found`, in one line; None if it can."""
    for name, own in _own(module).items():
        if name in _names_of(module, head):
            if name not in found:
                return f"the file has no `{name}`"
            if found[name].shape != own.shape:
                return f"`{name}` is {tuple(found[name].shape)} in the file, {tuple(own.shape)} in the network"
    return None


def misfit_of(module: nn.Module, found: Mapping[str, Tensor], aside: tuple[str, ...] = ()) -> Misfit:
    """How the weights that were `found` differ from those of `module` in names and shapes, the names `aside` left out.
    A weight that several names share may have any of them; statistics that are not saved by torch may be missing.

    >>> misfit_of(nn.Linear(2, 1), {"weight": torch.ones(2, 2), "scale": torch.ones(1)})
    Misfit(lacks=('bias',), strange=('scale',), other_shapes=('weight',))
    """
    own = _own(module)
    there = {id(tensor) for name, tensor in own.items() if name in found}
    saved = module.state_dict(keep_vars=True)
    lacks = [n for n in saved if n in own and id(own[n]) not in there and n.rpartition(".")[2] != _COUNTER]
    return Misfit(
        tuple(name for name in lacks if name not in aside),
        tuple(name for name in found if name not in own),
        tuple(n for n, t in own.items() if n in found and n not in aside and found[n].shape != t.shape),
    )


def _read(network: NetworkConfig) -> tuple[Mapping[str, Tensor], str]:
    """What `network.init` holds, and its SHA-256.

    Raises:
        InputError: it cannot be read, or is another file than was noted.
    """
    if network.init_sha256 in _SENT:
        return _SENT[network.init_sha256], network.init_sha256
    path = expanded(str(network.init))
    try:
        state = path.stat()
    except OSError:
        state = None
    found, digest = _cached(path, (state.st_mtime_ns, state.st_size, state.st_ino) if state else None)
    if network.init_sha256 not in (None, digest):
        raise InputError(
            f"network.init {path}: it was a file of SHA-256 {str(network.init_sha256)[:12]}, but is now of "
            f"{digest[:12]}. Bring it back as it was, or start a new study."
        )
    return found, digest


@lru_cache(maxsize=1)  # a study has one, and each of its packs asks several times
def _cached(path: Path, state: tuple[int, ...] | None) -> tuple[Mapping[str, Tensor], str]:
    """As `read_weights`, once for each `state` of the file on disk."""
    return read_weights(path, f"network.init {path}")


def _own(module: nn.Module) -> dict[str, Tensor]:
    """The weights and statistics of `module` under each of their names, those that torch does not save too."""
    saved = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    return {**dict(module.named_buffers(remove_duplicate=False)), **saved}


def _names_of(module: nn.Module, head: str) -> tuple[str, ...]:
    return tuple(f"{head}.{name}" for name, _ in module.get_submodule(head).named_parameters())


def _checked(value: Tensor, own: Tensor, name: str, where: str) -> Tensor:
    """
    Raises:
        InputError: it cannot be a weight's or statistic's value.
    """
    if own.is_floating_point() and not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise InputError(f"{where}: `{name}` must hold floating-point numbers, but holds {kind}. Give another file.")
    for held, beyond in ((value, ""), (value.to(own.dtype), f" in {str(own.dtype).removeprefix('torch.')}")):
        if not bool(held.isfinite().all()):
            raise InputError(
                f"{where}: every weight must be finite, but those of `{name}` are not{beyond}. Give another file."
            )
    return value


def _said(
    where: str, network: NetworkConfig, own: Mapping[str, Tensor], found: Mapping[str, Tensor], misfit: Misfit
) -> str:
    parts = [
        f"it lacks {few(f'`{name}`' for name in misfit.lacks)}" if misfit.lacks else "",
        f"it has {few(f'`{name}`' for name in misfit.strange)}, unknown to the network" if misfit.strange else "",
        "; ".join(
            f"`{name}` is {tuple(found[name].shape)} in it, {tuple(own[name].shape)} in the network"
            for name in misfit.other_shapes[:2]
        ),
        f"{len(misfit.other_shapes) - 2} more differ in shape" if len(misfit.other_shapes) > 2 else "",
    ]
    remedy = "Name the network that it is of, `network.name` and `network.args`, or give its tensors these names"
    if (prefix := prefix_of(found)) is not None:
        remedy = f"Take `{prefix}` from the names"
    return f"{where}: it does not fit network `{network.name}`: {'; '.join(filter(None, parts))}. {remedy}."
