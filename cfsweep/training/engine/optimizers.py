"""Update rules over stacked flat parameters, with one learning rate, momentum and decay per run.

Each matches the `torch.optim` class of its name at the same settings. They work in place on a block of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

UpdateMask = Sequence[tuple[slice, Tensor]]
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


def mask_rows(keep: UpdateMask, rows: slice) -> UpdateMask:
    return [(where, factor[rows]) for where, factor in keep]


def apply_mask(values: Tensor, keep: UpdateMask) -> Tensor:
    """`values` (rows, P), in place, times the factors of `keep`."""
    for where, factor in keep:
        values[:, where].mul_(factor)
    return values


def bias_correction(name: str, n_steps: int) -> float:
    """What share of its expected value the state `name` has after `n_steps` steps from zero, in (0, 1].

    References:
        Kingma & Ba 2015, section 3: what the moments are divided by. The momentum of sgd is not corrected.

    >>> bias_correction("mean", 2), bias_correction("momentum", 2)
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
    keep: UpdateMask,
) -> None:
    """One step of optimizer `name` on `theta` (rows, P), in place; `gradient` is used as scratch.

    A weight whose `keep` factor is 0, and whose state is 0, does not move by a single bit: neither by its gradient,
    nor by momentum, nor by decay. `step` counts from 1, and from where the state was zero.

    References:
        Kingma & Ba 2015, algorithm 1 (adam); Loshchilov & Hutter 2019, algorithm 2 (adamw); Sutskever et al. 2013
        in the form of `torch.optim.SGD` (momentum without dampening).
    """
    if rates.decays:
        decay = apply_mask(theta * rates.weight_decay, keep)
        if name == "adamw":
            theta.sub_(decay.mul_(rates.lr_of_weights))
        else:
            gradient.add_(decay)
    apply_mask(gradient, keep)
    if name == "sgd":
        momentum = state["momentum"].mul_(rates.momentum).add_(gradient)
        theta.sub_(torch.mul(momentum, rates.lr_of_weights, out=gradient))
        return
    in_one_pass = _row_by_row if theta.device.type == "cpu" else _all_rows_at_once
    in_one_pass(theta, gradient, state["mean"], state["square"], rates, step)


def _row_by_row(theta: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, rates: Rates, step: int) -> None:
    """Adam without decay in one pass over memory, one call for each row, so that a row stays in a CPU's cache.

    The last few weights of a call may round in another way, so one call is made for all neighbours that have one rate.
    """
    count = torch.tensor(float(step))
    for row, lr in enumerate(rates.lr.flatten().tolist()):
        for where, factor in rates.stretches(row):
            own = (row, where)
            _fused_adam(theta[own], gradient[own], mean[own], square[own], count, lr * factor)


def _all_rows_at_once(theta: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, rates: Rates, step: int) -> None:
    """The same in a few kernels however many rows there are, and without asking the device for a number.

    The fused update knows one rate per call: at rate 1 and from zero it gives the step itself, which is then taken at
    each row's own rate. That is 11 passes over memory; written out in single operations, Adam takes 22.
    """
    move = torch.zeros_like(theta)
    _fused_adam(move, gradient, mean, square, torch.full((), float(step), device=theta.device), 1.0)
    theta.addcmul_(move, rates.lr_of_weights)


def _fused_adam(theta: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, count: Tensor, lr: float) -> None:
    """What `torch.optim.Adam(fused=True)` calls."""
    torch._fused_adam_(
        [theta],
        [gradient],
        [mean],
        [square],
        [],
        [count],
        lr=lr,
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
