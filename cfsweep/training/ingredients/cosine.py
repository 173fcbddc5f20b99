"""Cosine annealing with a restart at each task: large steps first, small ones last."""

from __future__ import annotations

import math

from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Values
from cfsweep.training.ingredients._pieces import RateByStep


class Cosine(RateByStep):
    """Step s = 1..n of a task's n steps has the learning rate lr·(f + ½(1-f)(1 + cos(π(s-1)/n))), f = cosine_floor.

    That is eq. 5 with η_max = lr, η_min = f·lr, T_cur = s-1 and T_i = n; each task is one restart. As there, and in
    `torch.optim.lr_scheduler.CosineAnnealingLR`, the first step has the full rate, and f·lr would be that of the step
    after the last. With `warmup` the two factors are multiplied.

    References:
        Loshchilov & Hutter 2017 (SGDR, arXiv 1608.03983), eq. 5.
    """

    name = "cosine"
    summary = "the learning rate falls along a cosine within each task"
    paper = "Loshchilov & Hutter 2017, ICLR"
    hypers = (
        Hyper(
            "cosine_floor",
            "float",
            0.0,
            "learning rate at the end of each task as a share of lr",
            low=0.0,
            high=1.0,
            off=1.0,
        ),
    )

    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        floor = values["cosine_floor"]
        return floor + (1 - floor) * (0.5 * (1 + math.cos(math.pi * (step - 1) / n_steps)))
