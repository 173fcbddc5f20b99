"""Checks that the factories of networks share."""

from __future__ import annotations

from typing import Any

from cfsweep.errors import InputError, short
from cfsweep.machine import memory_bytes

MOST_LAYERS = 1_000
_PER_WEIGHT = 8  # bytes: itself, and its gradient; all else comes beside


def require_fits(network: str, n_parameters: int) -> None:
    """Makes sure, before any is allocated, that a network has no more parameters than there is memory for.

    Raises:
        InputError: it has.
    """
    memory = memory_bytes()
    if n_parameters * _PER_WEIGHT > memory:
        raise InputError(
            f"network `{network}`: it would have {n_parameters:.3g} parameters, and there is memory here for "
            f"{memory // _PER_WEIGHT:.3g} with their gradients. Make it smaller."
        )


def positive_int(network: str, name: str, value: Any) -> int:
    """`value` as a whole number >= 1.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            f"network `{network}`: `{name}` must be a whole number >= 1, but got {short(repr(value))[1:-1]}. Change it."
        )
    return value


def positive_ints(network: str, name: str, value: Any) -> list[int]:
    """`value` as a list of whole numbers >= 1. Raises as `positive_int`."""
    if not isinstance(value, list | tuple):
        raise InputError(
            f"network `{network}`: `{name}` must be a list, but got {short(repr(value))[1:-1]}. "
            f"Write `[{short(value)[1:-1]}]`."
        )
    if len(value) > MOST_LAYERS:
        raise InputError(
            f"network `{network}`: `{name}` has {len(value)} layers, and {MOST_LAYERS} are the most. Take fewer."
        )
    return [positive_int(network, f"{name}[{i}]", each) for i, each in enumerate(value)]


def image_shape(network: str, input_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """`input_shape` as (channels, height, width).

    Raises:
        InputError: the input is no image, or one with a side shorter than `smallest`.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        remedy = "Use `mlp`, which takes any shape."
        if len(input_shape) == 3 and input_shape[2] in (1, 3, 4):
            remedy = "If the channels come last, move that axis first: an image x is (n, channels, height, width)."
        raise InputError(
            f"network `{network}`: it needs images (channels, height, width) with sides >= {smallest}, but the "
            f"stream's examples have the shape {input_shape}. {remedy}"
        )
    channels, height, width = input_shape
    return channels, height, width
