"""L2-SP: every weight is held near its value after the latest task, none more than another."""

from __future__ import annotations

from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Examples
from cfsweep.training.ingredients._base import Conventions, Settings, State, Values
from cfsweep.training.ingredients._pieces import Penalty


class L2SP(Penalty):
    """Penalty ½·λ·Σ_j (θ_j - θ*_j)², with θ* the weights after the latest task; during the first there is none.

    What a penalty that knows which weights matter has to beat. The paper's second term, weight decay of a layer that
    the old network lacks, has nothing to act on: the output layer has all its outputs from the start, and those not
    yet trained are held at their initial values like the rest.

    References:
        Li, Grandvalet & Davoine 2018, eq. 2: its first term, with α as λ here.
    """

    name = "l2-sp"
    summary = "quadratic penalty toward old weights, the same for every weight"
    paper = "Li, Grandvalet & Davoine 2018, ICML, arXiv 1802.01483"
    hypers = (Hyper("l2_sp_lambda", "float", 0.1, "strength of the penalty", low=0.0, off=0.0, takes_effect="later"),)

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions("0.5 * lambda * sum (theta - theta*)^2, latest weights")

    def initial_state(self, theta: Tensor) -> State:
        return {"anchor": theta.clone()}  # there an output stays that comes into use later

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return (theta - state["anchor"]).mul_(values["l2_sp_lambda"])

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {"anchor": theta.clone()}
