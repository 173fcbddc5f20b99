"""A limit on forgetting: a task ends for a run when its accuracy on old tasks has fallen too far."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import State, Values
from cfsweep.training.ingredients._pieces import StopRule

# The finer, the less is lost by going back one; but each look passes over the steering data of every task seen: with a
# tenth of the data held out, twenty of them in task t (from 0) over as many examples as 2·(t + 1) tasks have.
CHECKS = 20


class ForgettingLimit(StopRule):
    """At 20 equally spaced moments of each task from the second on, the mean accuracy on the steering examples of the
    old tasks is compared with what it was when the task began. A run in which it has fallen by more than
    `forgetting_limit` has finished the task, and goes back to its weights at the last moment before, at which the limit
    still held: at worst those with which the task began. So it must keep those examples, as a buffer does: they count
    in `stored_bytes`.

    So no run ends a task beyond the limit; over several tasks the falls add up. Only in class-il it can, where the
    outputs that a task opens draw answers away even while the weights stay: such a run learns nothing of the task. The
    limit is on the mean over old tasks (each weighs the same), not on each of them, and on the steering examples: on
    validation data, which it does not see, the fall may be larger. As in `early-stopping`, the weights alone go back.
    With both, the one that first ends the task decides, of two at once the one listed first; the limit is not looked at
    in the best epoch that `early-stopping` goes back to, unless that ends at one of the 20 moments.

    References:
        None: a rule of cfsweep's own, in the manner of early stopping.
    """

    name = "forgetting-limit"
    summary = "a task ends when accuracy on old tasks' held-out examples has fallen by more than a limit"
    paper = "cfsweep"
    hypers = (
        Hyper(
            "forgetting_limit",
            "float",
            0.05,
            "by how much the mean score on held-out examples of old tasks may fall within a task",
            low=0.0,
            high=1.0,
            off=1.0,
            takes_effect="later",
        ),
    )
    looks_at_old = True

    def initial_state(self, theta: Tensor) -> State:
        return {"start": torch.zeros((), dtype=torch.float64, device=theta.device), "weights": theta.clone()}

    def n_checks(self, epochs: int) -> int:
        return CHECKS

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        if task == 0:
            return theta, state, torch.zeros((), dtype=torch.bool, device=theta.device)
        mean = scores[:task].mean()
        start = mean if number == 0 else state["start"]
        # In the precision of the limit, so that a fall of just 0.01 is not more than 0.01.
        limit = values["forgetting_limit"]
        broken = ((start - mean).to(torch.float32) > limit) & (limit < 1)  # 1 is off, also for scores that fall further
        weights = torch.where(broken, state["weights"], theta)
        return weights, {"start": start, "weights": weights}, broken
