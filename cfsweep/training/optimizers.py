"""Update rules over stacked flat parameters, with one learning rate, momentum and decay per run.

Each matches the `torch.optim` class of its name at the same settings. They work in place on a block of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Keep = Sequence[tuple[slice, Tensor]]
"""Pairs of (slice of the vector, factor (R, length)); factor 0 holds a weight still, 1 lets it move."""

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
STATE_NAMES: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum",),
    "adam": ("mean", "square"),
    "adamw": ("mean", "square"),
}


Stretch = tuple[slice, float]


@dataclass(frozen=True)
class ByWeight:
    """Factors (rows, P) on the learning rate; `stretches[row]` are the slices in which they are equal, with them."""

    factors: Tensor
    stretches: Sequence[Sequence[Stretch]]

    @staticmethod
    def of(factors: Tensor) -> ByWeight:
        return ByWeight(factors, [_stretches(row) for row in factors.cpu()])

    def rows(self, rows: slice) -> ByWeight:
        return ByWeight(self.factors[rows], self.stretches[rows])


@dataclass(frozen=True)
class Rates:
    """The per-run settings of a block, each (rows, 1); `decays` is False when every weight decay is zero."""

    lr: Tensor
    momentum: Tensor
    weight_decay: Tensor
    decays: bool
    by_weight: ByWeight | None = None

    def rows(self, rows: slice) -> Rates:
        by_weight = None if self.by_weight is None else self.by_weight.rows(rows)
        return Rates(self.lr[rows], self.momentum[rows], self.weight_decay[rows], self.decays, by_weight)

    @property
    def lr_of_weights(self) -> Tensor:
        """(rows, 1), or (rows, P) where weights differ."""
        return self.lr if self.by_weight is None else self.lr * self.by_weight.factors

    def stretches(self, row: int) -> Sequence[Stretch]:
        return [(slice(None), 1.0)] if self.by_weight is None else self.by_weight.stretches[row]


def keep_rows(keep: Keep, rows: slice) -> Keep:
    return [(where, factor[rows]) for where, factor in keep]


def hold(values: Tensor, keep: Keep) -> Tensor:
    """`values` (rows, P), in place, times the factors of `keep`."""
    for where, factor in keep:
        values[:, where].mul_(factor)
    return values


def fullness(name: str, n_steps: int) -> float:
    """What share of its expected value the state `name` has after `n_steps` steps from zero, in (0, 1].

    References:
        Kingma & Ba 2015, section 3: what the moments are divided by. The momentum of sgd is not corrected.

    >>> fullness("mean", 2), fullness("momentum", 2)
    (0.18999999999999995, 1.0)
    """
    beta = {"mean": BETA1, "square": BETA2}.get(name)
    return 1.0 if beta is None else 1 - beta**n_steps


def update(
    name: str,
    theta: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    rates: Rates,
    step: int,
    keep: Keep,
) -> None:
    """One step of optimizer `name` on `theta` (rows, P), in place; `gradient` is used as scratch.

    A weight whose `keep` factor is 0, and whose state is 0, does not move by a single bit: neither by its gradient,
    nor by momentum, nor by decay. `step` counts from 1, and from where the state was zero.

    References:
        Kingma & Ba 2015, algorithm 1 (adam); Loshchilov & Hutter 2019, algorithm 2 (adamw); Sutskever et al. 2013
        in the form of `torch.optim.SGD` (momentum without dampening).
    """
    if rates.decays:
        decay = hold(theta * rates.weight_decay, keep)
        if name == "adamw":
            theta.sub_(decay.mul_(rates.lr_of_weights))
        else:
            gradient.add_(decay)
    hold(gradient, keep)
    if name == "sgd":
        momentum = state["momentum"].mul_(rates.momentum).add_(gradient)
        theta.sub_(torch.mul(momentum, rates.lr_of_weights, out=gradient))
        return
    mean, square = state["mean"], state["square"]
    if theta.device.type == "cpu" and hasattr(torch, "_fused_adam_"):
        _adam_in_one_pass(theta, gradient, mean, square, rates, step)
        return
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    size = torch.sqrt(square, out=gradient).div_((1 - BETA2**step) ** 0.5).add_(EPS)
    theta.sub_(torch.div(mean, size, out=gradient).mul_(rates.lr_of_weights / (1 - BETA1**step)))


def _adam_in_one_pass(theta: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, rates: Rates, step: int) -> None:
    """Adam without decay, row by row, in one pass over memory: what `torch.optim.Adam(fused=True)` calls.

    Its last few numbers round in their own way, so it is to be called once for all neighbours that have one rate.
    """
    count = torch.tensor(float(step))
    for row, lr in enumerate(rates.lr.flatten().tolist()):
        for where, factor in rates.stretches(row):
            torch._fused_adam_(
                [theta[row, where]],
                [gradient[row, where]],
                [mean[row, where]],
                [square[row, where]],
                [],
                [count],
                lr=lr * factor,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=0.0,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )


def _stretches(factors: Tensor) -> list[Stretch]:
    """The longest slices of `factors` (P,) in which all are equal, and what they equal.

    >>> _stretches(torch.tensor([1.0, 1.0, 0.5, 1.0]))
    [(slice(0, 2, None), 1.0), (slice(2, 3, None), 0.5), (slice(3, 4, None), 1.0)]
    """
    values, counts = torch.unique_consecutive(factors, return_counts=True)
    stops = counts.cumsum(0).tolist()
    return [(slice(a, b), v) for a, b, v in zip([0, *stops], stops, values.tolist(), strict=False)]
