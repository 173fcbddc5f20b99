"""Early stopping: a task ends for a run when its accuracy on held-out examples no longer rises."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State, Values
from cfsweep.training.ingredients._pieces import StopRule


class EarlyStopping(StopRule):
    """After each epoch the accuracy on the steering examples of the current task is compared with the best so far in
    this task. A run whose accuracy has not risen above it for `patience` epochs in a row has finished the task. Stopped
    or not, it ends the task with the weights of its best epoch, the first of equals.

    The steering examples are held out for it, from training and from the validation data. The weights alone go back:
    what other ingredients noted on the way (the path of `si`), and the running statistics of batch norms, are those of
    the last step.

    References:
        Goodfellow, Bengio & Courville 2016, "Deep Learning", algorithm 7.1 with n = one epoch and p = `patience`; the
        epochs of the trial bound it. Prechelt 1998, "Early Stopping - But When?", compares criteria; his UP_s wants
        the error to rise s times in a row, where patience also counts an epoch that is just no better than the best.
    """

    name = "early-stopping"
    summary = "a task ends when its accuracy on held-out examples no longer rises, with the best epoch's weights"
    paper = "Goodfellow et al. 2016, Deep Learning, algorithm 7.1; Prechelt 1998"
    hypers = (Hyper("patience", "int", 3, "epochs without a new best score that end the task", low=0, off=0),)
    looks_at_old = False

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._epochs = int(settings["epochs"])

    def initial_state(self, theta: Tensor) -> State:
        return self._fresh(theta)

    def n_checks(self, epochs: int) -> int:
        return epochs

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        if number == 0:
            return theta, self._fresh(theta), torch.zeros((), dtype=torch.bool, device=theta.device)
        risen = (scores[task] > state["score"]) | (number == 1)
        best = {
            "score": torch.where(risen, scores[task], state["score"]),
            "weights": torch.where(risen, theta, state["weights"]),
            "waited": torch.where(risen, 0, state["waited"] + 1),
        }
        patience = values["patience"]
        finished = (patience > 0) & ((best["waited"] >= patience) | (number == self._epochs))
        return torch.where(finished, best["weights"], theta), best, finished

    @staticmethod
    def _fresh(theta: Tensor) -> State:
        """Before the first epoch, which is the best one so far whatever its score."""
        return {
            "score": torch.full((), -1.0, dtype=torch.float64, device=theta.device),
            "weights": theta.clone(),
            "waited": torch.zeros((), dtype=torch.int64, device=theta.device),
        }
