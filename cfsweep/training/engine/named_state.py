"""An ingredient's flat state as tensors by the parameters' names, and back: a form that is independent of where a
parameter lies in the vector, and that a `state_dict` can hold."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cfsweep.training.engine.layout import Layout


def to_named(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each entry (..., P) of `state` as tensors (..., *shape) called `entry.parameter`; what is not one number per
    weight stays as it is, under its own name. They are views.

    >>> import torch
    >>> from torch import nn
    >>> layout = Layout(nn.Sequential(nn.Linear(2, 1)), 1)
    >>> named = to_named(layout, {"anchor": torch.arange(3.0), "best": torch.tensor([7.0])})
    >>> {name: value.tolist() for name, value in named.items()}
    {'anchor.0.weight': [[0.0, 1.0]], 'anchor.0.bias': [2.0], 'best': [7.0]}
    """
    named: dict[str, Tensor] = {}
    for entry, value in state.items():
        if value.shape[-1:] == (layout.size,):
            named |= {f"{entry}.{name}": piece for name, piece in layout.unflatten(value).items()}
        else:
            named[entry] = value
    return named


def from_named(layout: Layout, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The flat state that `named` was made of: inverse of `to_named`.

    Raises:
        KeyError: a parameter of the layout is missing in one of the entries.

    >>> import torch
    >>> from torch import nn
    >>> layout = Layout(nn.Sequential(nn.Linear(2, 1)), 1)
    >>> from_named(layout, to_named(layout, {"anchor": torch.arange(3.0), "best": torch.tensor([7.0])}))
    {'anchor': tensor([0., 1., 2.]), 'best': tensor([7.])}
    """
    state: dict[str, Tensor] = {}
    pieces: dict[str, dict[str, Tensor]] = {}
    for key, value in named.items():
        entry, dot, name = key.partition(".")
        if dot:
            pieces.setdefault(entry, {})[name] = value
        else:
            state[entry] = value
    return {entry: layout.flatten(by_name) for entry, by_name in pieces.items()} | state
