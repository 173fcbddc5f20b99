"""PackNet: each task keeps its own share of the weights, which no later task may touch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients._base import Context, Ingredient, Memory, State, Values

FREE = 32767  # owner of a weight that no task has taken yet


class PackNet(Ingredient):
    """After most of a task's steps, the largest (1-p) of the free weights of each layer become the task's own; the
    other free weights are set to zero, and the rest of the steps retrains the own ones. Then they are frozen.

    Task k is evaluated with the weights of tasks 0..k, so its predictions never change again. Biases and norms
    are trained with task 0 and frozen after it, as in the paper; an output belongs to its class's task. Free
    capacity after k tasks is p^k of the prunable weights. Cut and retraining lie within the task's own steps, so a
    run takes as many steps with p = 0 (off) as with any other rate.

    References:
        Mallya & Lazebnik 2018 (arXiv 1711.05769), sections 3 and 4.
    """

    name = "packnet"
    summary = "iterative pruning: each task owns a share of the weights (task-il only)"
    paper = "Mallya & Lazebnik 2018, arXiv 1711.05769"
    hypers = (
        Hyper(
            "packnet_rate",
            "float",
            0.5,
            "share of the free weights that each task gives up to later ones; 0 is off",
            low=0.0,
            high=1.0,
            high_open=True,
            acts="mid",
        ),
        Hyper(
            "packnet_retrain_frac",
            "float",
            1 / 3,
            "share of a task's steps spent retraining after the cut (the paper: half as long as the training)",
            low=0.0,
            high=1.0,
            high_open=True,
            structural=True,
        ),
    )
    scenarios = ("task-il",)

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        super().__init__(context, settings)
        if len(context.output_tasks) == 0:
            raise InputError(
                "packnet: each class must belong to one task, but two tasks of this stream share a class. "
                "Give the classes of each task their own numbers."
            )
        self.retrain_frac = float(settings["packnet_retrain_frac"])

    def initial_state(self, like: Tensor) -> State:
        owner = torch.zeros_like(like, dtype=torch.int16)
        for entry in self.context.layout.entries:
            if entry.prunable:
                owner[entry.where] = FREE
        tasks = torch.tensor(self.context.output_tasks, dtype=torch.int16, device=like.device)
        for where, task in self.context.layout.head_rows(tasks):
            owner[where] = task
        return {"owner": owner}

    def trainable(self, state: State, values: Values, task: int, after_mid: bool) -> Tensor:
        owner = state["owner"]
        mine = owner == task
        return (mine if after_mid else mine | (owner == FREE)) | (values["packnet_rate"] == 0)

    def mid_frac(self) -> float:
        return 1 - self.retrain_frac

    def mid_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        owner = state["owner"].clone()
        for entry in self.context.layout.entries:
            if entry.prunable:
                owner[entry.where] = self._cut(theta[entry.where], owner[entry.where], values["packnet_rate"], task)
        on = values["packnet_rate"] > 0
        owner = torch.where(on, owner, state["owner"])
        return torch.where(on & (owner == FREE), 0.0, theta), {"owner": owner}

    @staticmethod
    def _cut(weights: Tensor, owner: Tensor, rate: Tensor, task: int) -> Tensor:
        """The owners of one layer after `task` took the largest round((1-p)·free) of its free weights."""
        free = owner == FREE
        kept = torch.round((1 - rate) * free.sum())
        by_size = torch.where(free, weights.abs(), -1.0).argsort(descending=True, stable=True)
        rank = torch.zeros_like(by_size).scatter(0, by_size, torch.arange(len(weights), device=weights.device))
        return torch.where(free & (rank < kept), task, owner).to(owner.dtype)

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        own = (state["owner"] <= task) | (values["packnet_rate"] == 0)
        return torch.where(own, theta, 0.0)

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        prunable = sum(e.stop - e.start for e in self.context.layout.entries if e.prunable)
        return prunable if values["packnet_rate"] > 0 else 0  # one byte names the owner
