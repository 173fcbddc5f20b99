"""Warm-up: each task begins with small steps."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Values
from cfsweep.training.ingredients._pieces import RateByStep


class Warmup(RateByStep):
    """In the first n = round(warmup_frac · steps) steps of each task the learning rate grows by a constant amount with
    each step, from lr/n to lr.

    The paper starts from the rate of one of its k workers, lr/k, and warms up once, for 5 epochs. Here each task is a
    new start: with its fresh optimizer the first steps are those that hurt old tasks. With `cosine` the two factors are
    multiplied.

    References:
        Goyal et al. 2017 (arXiv 1706.02677), section 2.2, "Gradual warmup".
    """

    name = "warmup"
    summary = "the learning rate grows linearly at the start of each task"
    paper = "Goyal et al. 2017, arXiv 1706.02677"
    hypers = (
        Hyper(
            "warmup_frac",
            "float",
            0.1,
            "share of each task's steps in which the learning rate grows to lr",
            low=0.0,
            high=1.0,
            high_open=True,
            off=0.0,
        ),
    )

    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        n = torch.round(values["warmup_frac"] * n_steps)
        return (step / n.clamp(min=1)).clamp(max=1)
