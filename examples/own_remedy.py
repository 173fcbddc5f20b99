"""Your own remedy: `ingredients: ["examples.own_remedy:EWCPlusPlus"]` in a search space, from the folder that holds
`examples`.

It says which pieces it is made of (here a penalty, which also sees every step) and implements their abstract methods,
for one model: cfsweep trains any number of runs of it at once. `cfsweep.testing.check_ingredient` tells whether it does
what every ingredient must do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients import Conventions, Examples, Penalty, Settings, State, StepObserver, Values


class EWCPlusPlus(Penalty, StepObserver):
    """EWC with a Fisher diagonal F that is averaged over the steps, F ← α g² + (1 - α) F, so that no pass over the task
    is needed at its end. The penalty is ½·λ·Σ_j F_j (θ_j - θ*_j)², with F and the weights θ* of the end of the latest
    task. As in the authors' code g is the gradient of the batch, so F is not the Fisher of single examples.

    References:
        Chaudhry et al. 2018 (arXiv 1801.10112), section 4, "EWC++".
    """

    name = "ewc++"
    summary = "EWC whose Fisher is a moving average over the steps"
    paper = "Chaudhry et al. 2018, ECCV, arXiv 1801.10112"
    hypers = (
        Hyper("ewcpp_lambda", "float", 1000.0, "strength of the penalty", low=0.0, off=0.0, takes_effect="later"),
        Hyper("ewcpp_alpha", "float", 0.9, "share of the latest step in the average", low=0.0, low_open=True, high=1.0),
    )

    @staticmethod
    def conventions(settings: Settings) -> Conventions:  # what λ multiplies; it stands beside each result
        return Conventions("0.5 * lambda * sum F (theta - theta*)^2, latest weights", "moving average over the steps")

    def initial_state(self, theta: Tensor) -> State:
        return {"average": torch.zeros_like(theta), "fisher": torch.zeros_like(theta), "anchor": theta.clone()}

    def observe_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        alpha = values["ewcpp_alpha"]
        return {"average": alpha * gradient.square() + (1 - alpha) * state["average"]}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return values["ewcpp_lambda"] * state["fisher"] * (theta - state["anchor"])

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {**state, "fisher": state["average"].clone(), "anchor": theta.clone()}
