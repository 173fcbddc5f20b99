"""Which layer of a network is its output layer."""

from __future__ import annotations

from torch import nn

from cfsweep.errors import InputError


def head_of(module: nn.Module, n_outputs: int) -> str:
    """The qualified name of the output `nn.Linear` of `module`.

    It is the attribute `head`, if that is an `nn.Linear` with `n_outputs` outputs, else the last such layer.

    Raises:
        InputError: there is none.

    >>> head_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), 2)
    '2'
    """
    fitting: list[str] = [
        name
        for name, layer in module.named_modules()
        if name and isinstance(layer, nn.Linear) and layer.out_features == n_outputs
    ]
    if "head" in fitting:
        return "head"
    if not fitting:
        raise InputError(
            f"network `{type(module).__name__}`: its output layer must be an nn.Linear with {n_outputs} outputs inside "
            "the module, but there is none. Make it the attribute `head`."
        )
    return fitting[-1]
