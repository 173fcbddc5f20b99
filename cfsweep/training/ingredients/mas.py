"""Memory aware synapses: a weight matters as much as the outputs are sensitive to it, whatever the labels."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Examples
from cfsweep.training.ingredients._base import Context, Conventions, Settings, State, Values
from cfsweep.training.ingredients._pieces import Penalty
from cfsweep.training.ingredients._quadratic import quadratic_gradient


class MAS(Penalty):
    """Penalty λ·Σ_j Ω_j (θ_j - θ*_j)², with θ* the weights after the latest task and Ω summed over the tasks.

    A task's Ω is the mean over examples of |∂‖f(x)‖²/∂θ|, with f(x) the outputs that are active for the example, before
    the softmax. No label is looked at. The absolute value is taken of each example's gradient, as eq. 2 says; the
    authors' own code takes it of the sum over a batch, in which gradients of opposite sign cancel. Other libraries
    differ too: FACIL and Avalanche take the norm instead of its square, the absolute value after the mean over a
    batch, λ/2, and the mean of old and new Ω instead of their sum. Their λ are not those here.

    References:
        Aljundi et al. 2018, eq. 2 (Ω), eq. 3 (the squared norm), eq. 4 (the penalty, with λ as there and no ½).
    """

    name = "mas"
    summary = "quadratic penalty toward old weights, weighted by how sensitive the outputs are to each"
    paper = "Aljundi et al. 2018, ECCV, arXiv 1711.09601"
    hypers = (
        Hyper("mas_lambda", "float", 1.0, "strength of the penalty", low=0.0, off=0.0, takes_effect="later"),
        Hyper("mas_examples", "int", 200, "examples per task for the importance; 0 is all", low=0, static=True),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._n_examples = int(settings["mas_examples"])

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions(
            "lambda * sum Omega (theta - theta*)^2, Omega summed over tasks, mean over examples of absolute "
            "per-example gradients of the squared norm of the active outputs, latest weights"
        )

    def initial_state(self, theta: Tensor) -> State:
        return {"importance": torch.zeros_like(theta), "anchor": torch.zeros_like(theta)}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return quadratic_gradient(theta, state["anchor"], state["importance"], 2 * values["mas_lambda"])

    def n_examples(self, n_train: int) -> int:
        return min(self._n_examples or n_train, n_train)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        importance = self.context.output_sensitivity(theta, examples.x, examples.mask)
        return {"importance": state["importance"] + importance, "anchor": theta.clone()}
