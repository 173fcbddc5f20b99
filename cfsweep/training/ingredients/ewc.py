"""Elastic weight consolidation: weights that mattered for old tasks are held near their old values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients._base import Context, Ingredient, Memory, Sample, State, Values
from cfsweep.training.ingredients._quadratic import pulled
from cfsweep.training.outputs import masked_log_softmax


class EWC(Ingredient):
    """Penalty ½·λ·Σ_k Σ_j F_kj (θ_j - θ*_kj)², with F the diagonal Fisher information of each finished task.

    `separate` keeps one anchor per task; the sum of quadratics is itself one quadratic, of curvature S = ΣF_k and
    centre C = ΣF_k θ*_k / ΣF_k, so two vectors hold any number of tasks exactly (up to a constant that has no
    gradient). `online` has S ← γS + F and the latest weights as its centre.

    References:
        Kirkpatrick et al. 2017, eq. 3 (`separate`, with λ as there); Schwarz et al. 2018, eq. 9 (`online`);
        Huszár 2018 on why the sum collapses; Kunstner et al. 2019 on the kinds of Fisher.
    """

    name = "ewc"
    family = "penalty"
    summary = "quadratic penalty toward old weights, weighted by the Fisher diagonal"
    paper = "Kirkpatrick et al. 2017, PNAS 114(13)"
    hypers = (
        Hyper("ewc_lambda", "float", 100.0, "strength of the penalty; 0 is off", low=0.0, acts="later"),
        Hyper("ewc_gamma", "float", 1.0, "decay of old curvature (online)", low=0.0, high=1.0, acts="later"),
        Hyper(
            "ewc_mode",
            "choice",
            "separate",
            "one anchor per task, or one that moves",
            choices=("separate", "online"),
            structural=True,
        ),
        Hyper(
            "ewc_fisher",
            "choice",
            "true",
            "labels of the Fisher: sampled, predicted or from the data",
            choices=("true", "predicted", "empirical"),
            structural=True,
        ),
        Hyper("ewc_examples", "int", 200, "examples per task for the Fisher; 0 is all", low=0, structural=True),
    )

    def __init__(self, context: Context, settings: Mapping[str, Value]) -> None:
        super().__init__(context, settings)
        self.online = settings["ewc_mode"] == "online"
        self.labels = str(settings["ewc_fisher"])
        self.n_examples = int(settings["ewc_examples"])
        self.fisher_convention = f"{self.labels} label, mean over examples of squared per-example gradients"
        self.penalty_convention = "0.5 * lambda * sum F (theta - theta*)^2, " + (
            "online" if self.online else "separate"
        )

    def initial_state(self, like: Tensor) -> State:
        return {"curvature": torch.zeros_like(like), "centre": torch.zeros_like(like)}

    def penalty(self, theta: Tensor, state: State, values: Values) -> Tensor:
        """The penalty (scalar), up to the constant that collapsing the anchors drops."""
        return 0.5 * values["ewc_lambda"] * (state["curvature"] * (theta - state["centre"]).square()).sum()

    def gradient(self, gradient: Tensor, theta: Tensor, state: State, values: Values) -> Tensor:
        return pulled(gradient, theta, state["centre"], state["curvature"], values["ewc_lambda"])

    def sample_size(self, n_train: int) -> int:
        return min(self.n_examples or n_train, n_train)

    def end_task(self, theta: Tensor, state: State, values: Values, task: int, sample: Sample) -> State:
        fisher = self.fisher(theta, sample)
        if self.online:
            return {"curvature": values["ewc_gamma"] * state["curvature"] + fisher, "centre": theta.clone()}
        curvature = state["curvature"] + fisher
        # C' = (S C + F θ) / (S + F), written so that it is exactly θ where S = 0, and C where F = 0.
        share = torch.where(curvature > 0, fisher / curvature, 0.0)
        centre = torch.where(state["curvature"] > 0, state["centre"] + share * (theta - state["centre"]), theta)
        return {"curvature": curvature, "centre": centre}

    def fisher(self, theta: Tensor, sample: Sample) -> Tensor:
        """The Fisher diagonal (P,): the mean over examples of the squared gradient of log p(label | x)."""
        return self.context.squared_gradients(theta, sample.x, self._labels(theta, sample), sample.mask)

    def _labels(self, theta: Tensor, sample: Sample) -> Tensor:
        if self.labels == "empirical":
            return sample.labels
        log_p = masked_log_softmax(self.context.forward(theta, sample.x), sample.mask)
        if self.labels == "predicted":
            return log_p.argmax(-1)
        # Inverse transform: the first output whose cumulated probability exceeds u. Rounding can leave the total
        # just under u; the most probable output answers then, never a closed one.
        cumulated = log_p.exp().cumsum(-1)
        beyond = cumulated > sample.uniform.unsqueeze(-1)
        return torch.where(beyond.any(-1), beyond.to(torch.int8).argmax(-1), log_p.argmax(-1))

    def stored_bytes(self, values: Mapping[str, float], memory: Memory, example_bytes: int) -> int:
        return 2 * 4 * self.context.layout.size if values["ewc_lambda"] > 0 else 0
