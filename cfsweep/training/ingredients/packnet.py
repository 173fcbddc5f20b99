"""PackNet: each task keeps its own share of the weights, which no later task may touch."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State, Values
from cfsweep.training.ingredients._pieces import Cut, Partition, TaskWeights

FREE = 32767  # owner of a weight that no task has taken yet
SCHEDULES = ("constant", "equal")


def capacity_shares(rate: float, n_tasks: int, schedule: str = "constant") -> tuple[float, ...]:
    """The shares of the prunable weights that tasks 0..T-1 end up with, and what stays free: (T + 1,), sum 1.

    With the rate p, task k of `constant` finds p^k of the weights free and keeps (1-p)·p^k; p^T stay free. No task
    gets less than the last one. In `equal` each gets 1/T at any rate. (The ingredient takes p = 0 as off.)

    References:
        Mallya & Lazebnik 2018 (arXiv 1711.05769), section 3: each cut takes a fixed share of what is free.

    >>> capacity_shares(0.5, 3)
    (0.5, 0.25, 0.125, 0.125)
    >>> capacity_shares(0.5, 4, "equal")
    (0.25, 0.25, 0.25, 0.25, 0.0)
    """
    if schedule == "equal":
        return (*(1 / n_tasks for _ in range(n_tasks)), 0.0)
    return (*((1 - rate) * rate**task for task in range(n_tasks)), rate**n_tasks)


class PackNet(Partition, Cut, TaskWeights):
    """After most of a task's steps, the largest (1-p) of the free weights of each layer become the task's own; the
    other free weights are set to zero, and the rest of the steps retrains the own ones. Then they are frozen.
    The schedule `constant` is the paper's: p for every task, the last one too. In `equal` task k of T keeps 1/(T-k)
    of the free weights, so that each ends with 1/T of every layer.

    Task k is evaluated with the weights of tasks 0..k, so its predictions never change again. Biases and norms, with
    their running statistics, are trained with task 0 and frozen after it, as in the paper; an output belongs to its
    class's task. What each task gets in all: `capacity_shares`. Cut and retraining lie within the task's own steps, so
    a run takes as many steps with p = 0 (off) as with any other rate.

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
            "share of the free weights that each task gives up to later ones",
            low=0.0,
            high=1.0,
            high_open=True,
            off=0.0,
            takes_effect="cut",
            only_with=("packnet_schedule", "constant"),
        ),
        Hyper(
            "packnet_retrain_frac",
            "float",
            1 / 3,
            "share of a task's steps spent retraining after the cut (the paper: half as long as the training)",
            low=0.0,
            high=1.0,
            high_open=True,
            static=True,
        ),
        Hyper(
            "packnet_schedule",
            "choice",
            "constant",
            "how much of the free weights a task keeps: constant 1 - packnet_rate, equal 1/(number of tasks from this "
            "one on), so that all end with the same share; with equal, packnet_rate matters only in that 0 is off",
            choices=SCHEDULES,
            static=True,
        ),
    )
    scenarios = ("task-il",)
    holds_statistics = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        if len(context.output_tasks) == 0:
            raise InputError(
                "packnet: each class must belong to one task, but two tasks of this stream share a class. "
                "Give the classes of each task their own numbers."
            )
        self._retrain_frac = float(settings["packnet_retrain_frac"])
        self._equal = settings["packnet_schedule"] == "equal"
        self._prunable = [entry for entry in context.layout.entries if entry.prunable]

    def initial_state(self, theta: Tensor) -> State:
        owner = torch.zeros_like(theta, dtype=torch.int16)
        for entry in self._prunable:
            owner[entry.where] = FREE
        tasks = torch.tensor(self.context.output_tasks, dtype=torch.int16, device=theta.device)
        for where, task in self.context.layout.head_rows(tasks):
            owner[where] = task
        return {"owner": owner}

    def kept(self, state: State) -> State:
        """One byte per prunable weight names its owner; of all other weights the owner is known without."""
        owners = [state["owner"][entry.where] for entry in self._prunable]
        return {"owner": torch.cat([state["owner"][:0], *owners]).clamp(max=255).to(torch.uint8)}

    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        owner = state["owner"]
        mine = owner == task
        return (mine if after_cut else mine | (owner == FREE)) | (values["packnet_rate"] == 0)

    def cut_frac(self) -> float:
        return 1 - self._retrain_frac

    def cut(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        owner = state["owner"].clone()
        kept_frac = 1 / (self.context.n_tasks - task) if self._equal else 1 - values["packnet_rate"]
        for entry in self._prunable:
            owner[entry.where] = self._owners_after(theta[entry.where], owner[entry.where], kept_frac, task)
        on = values["packnet_rate"] > 0
        owner = torch.where(on, owner, state["owner"])
        return torch.where(on & (owner == FREE), 0.0, theta), {"owner": owner}

    @staticmethod
    def _owners_after(weights: Tensor, owner: Tensor, kept_frac: Tensor | float, task: int) -> Tensor:
        """The owners of one layer after `task` took the largest round(kept_frac·free) of its free weights."""
        free = owner == FREE
        kept = torch.round(kept_frac * free.sum())
        by_size = torch.where(free, weights.abs(), -1.0).argsort(descending=True, stable=True)
        rank = torch.zeros_like(by_size).scatter(0, by_size, torch.arange(len(weights), device=weights.device))
        return torch.where(free & (rank < kept), task, owner).to(owner.dtype)

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        own = (state["owner"] <= task) | (values["packnet_rate"] == 0)
        return torch.where(own, theta, 0.0)
