"""Where each parameter of a network lies in one flat vector.

Optimizers and ingredients work on the vector, of length P; a pack stacks R of them to (R, P).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.training.networks import head_of


@dataclass(frozen=True)
class Entry:
    """One parameter: its slice of the vector, and the layer it belongs to. `transposed`: stored as (in, out), the order
    of its gradient.

    The gradient of a linear layer's weight comes out of a batched matrix product as (in, out); keeping the weight
    in that order saves a transposing copy of the whole network in each step.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    start: int
    stop: int
    transposed: bool
    prunable: bool

    @property
    def where(self) -> slice:
        return slice(self.start, self.stop)


class Layout:
    """The flat form of one network's parameters, those aside that `requires_grad=False` holds still. `layers` are the
    modules that own them, the output layer last.

    Raises:
        InputError: there is none to train.
    """

    def __init__(self, module: nn.Module, n_outputs: int) -> None:
        self.head = head_of(module, n_outputs)
        linear = {f"{name}.weight" for name, child in module.named_modules() if type(child) is nn.Linear}
        entries: list[Entry] = []
        start = 0
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            stop = start + parameter.numel()
            layer = name.rpartition(".")[0]
            in_head = layer == self.head
            prunable = parameter.dim() >= 2 and not in_head
            entries.append(Entry(name, layer, tuple(parameter.shape), start, stop, name in linear, prunable))
            start = stop
        if not entries:
            raise InputError("the network has no parameter to train: all have requires_grad=False. Set some free.")
        self.entries = tuple(entries)
        self.size = start
        self.layers = (*(n for n in dict.fromkeys(e.layer for e in entries) if n != self.head), self.head)

    def expand_by_layer(self, by_layer: Mapping[str, Tensor]) -> Tensor:
        """(P,): for each weight the scalar of its layer."""
        return torch.cat([by_layer[e.layer].expand(e.stop - e.start) for e in self.entries])

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of `theta` (..., P) by parameter name, each (..., *shape)."""
        return {e.name: _shaped(theta[..., e.start : e.stop], e) for e in self.entries}

    def flatten(self, parameters: Mapping[str, Tensor], out: Tensor | None = None) -> Tensor:
        """(..., P) from tensors (..., *shape) by parameter name; inverse of `unflatten`."""
        pieces = [_stored(parameters[e.name], e) for e in self.entries]
        return torch.cat(pieces, dim=-1) if out is None else torch.cat(pieces, dim=-1, out=out)

    def head_rows(self, outputs: Tensor) -> list[tuple[slice, Tensor]]:
        """For a per-output tensor (..., n_outputs), its values at each weight of the output layer.

        Returns:
            (slice of the vector, tensor (..., length of the slice)) for the layer's weight and bias.
        """
        found = []
        for e in self.entries:
            if e.layer == self.head:
                tail = e.shape[1:]
                full = outputs.reshape(*outputs.shape, *(1 for _ in tail)).expand(*outputs.shape, *tail)
                found.append((e.where, _stored(full, e)))
        return found


def _shaped(piece: Tensor, e: Entry) -> Tensor:
    leading = piece.shape[:-1]
    if e.transposed:
        return piece.view(*leading, e.shape[1], e.shape[0]).transpose(-1, -2)
    return piece.view((*leading, *e.shape))  # as a tuple, which may be empty


def _stored(value: Tensor, e: Entry) -> Tensor:
    if e.transposed:
        value = value.transpose(-1, -2)
    leading = value.dim() - len(e.shape)
    return value.reshape(*value.shape[:leading], e.stop - e.start)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """All parameters, those that are held still too, and all statistics by name: what makes a network the one it is.
    (A `state_dict` has a shared weight once for each of its names, and lacks buffers that are not persistent.)

    >>> list(tensors_of(nn.Linear(1, 1, bias=False)))
    ['weight']
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
