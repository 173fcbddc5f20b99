"""L2-SP: every weight is held near its value after the latest task, none more than another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Ingredient, Memory, Sample, State, Values


class L2SP(Ingredient):
    """Penalty ½·λ·Σ_j (θ_j - θ*_j)², with θ* the weights after the latest task; during the first there is none.

    What a penalty that knows which weights matter has to beat. The paper's second term, weight decay of a layer that
    the old network lacks, has nothing to act on: the output layer has all its outputs from the start, and those not
    yet trained are held at their initial values like the rest.

    References:
        Li, Grandvalet & Davoine 2018, eq. 2: its first term, with α as λ here.
    """

    name = "l2-sp"
    family = "penalty"
    summary = "quadratic penalty toward old weights, the same for every weight"
    paper = "Li, Grandvalet & Davoine 2018, ICML, arXiv 1802.01483"
    hypers = (Hyper("l2_sp_lambda", "float", 0.1, "strength of the penalty; 0 is off", low=0.0, acts="later"),)
    penalty_convention = "0.5 * lambda * sum (theta - theta*)^2, latest weights"

    def initial_state(self, like: Tensor) -> State:
        return {"anchor": torch.zeros_like(like)}

    def gradient(self, gradient: Tensor, theta: Tensor, state: State, values: Values) -> Tensor:
        return (theta - state["anchor"]).mul_(values["l2_sp_lambda"]).add_(gradient)

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        return {"anchor": theta.clone()}

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return 4 * self.context.layout.size if values["l2_sp_lambda"] > 0 else 0
