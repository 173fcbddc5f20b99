"""Memory aware synapses: a weight matters as much as the outputs feel it, whatever the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients._base import Context, Ingredient, Memory, Sample, State, Values
from cfsweep.training.ingredients._quadratic import pulled


class MAS(Ingredient):
    """Penalty λ·Σ_j Ω_j (θ_j - θ*_j)², with θ* the weights after the latest task and Ω summed over the tasks.

    A task's Ω is the mean over examples of |∂‖f(x)‖²/∂θ|, with f(x) the outputs that are open to the example, before
    the softmax. No label is looked at. The absolute value is taken of each example's gradient, as eq. 2 says; the
    authors' own code takes it of the sum over a batch, in which gradients of opposite sign cancel. Other libraries
    differ too: FACIL and Avalanche take the norm instead of its square, the absolute value after the mean over a
    batch, λ/2, and the mean of old and new Ω instead of their sum. Their λ are not those here.

    References:
        Aljundi et al. 2018, eq. 2 (Ω), eq. 3 (the squared norm), eq. 4 (the penalty, with λ as there and no ½).
    """

    name = "mas"
    family = "penalty"
    summary = "quadratic penalty toward old weights, weighted by how the outputs feel each"
    paper = "Aljundi et al. 2018, ECCV, arXiv 1711.09601"
    hypers = (
        Hyper("mas_lambda", "float", 1.0, "strength of the penalty; 0 is off", low=0.0, acts="later"),
        Hyper("mas_examples", "int", 200, "examples per task for the importance; 0 is all", low=0, structural=True),
    )
    penalty_convention = (
        "lambda * sum Omega (theta - theta*)^2, Omega summed over tasks, mean over examples of absolute per-example "
        "gradients of the squared norm of the open outputs, latest weights"
    )

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        super().__init__(context, settings)
        self.n_examples = int(settings["mas_examples"])

    def initial_state(self, like: Tensor) -> State:
        return {"importance": torch.zeros_like(like), "anchor": torch.zeros_like(like)}

    def gradient(self, gradient: Tensor, theta: Tensor, state: State, values: Values) -> Tensor:
        return pulled(gradient, theta, state["anchor"], state["importance"], 2 * values["mas_lambda"])

    def sample_size(self, n_train: int) -> int:
        return min(self.n_examples or n_train, n_train)

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        importance = self.context.output_sensitivity(theta, sample.x, sample.mask)
        return {"importance": state["importance"] + importance, "anchor": theta.clone()}

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return 2 * 4 * self.context.layout.size if values["mas_lambda"] > 0 else 0
