"""Elastic weight consolidation: weights that mattered for old tasks are held near their old values."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Examples
from cfsweep.training.ingredients._base import Context, Conventions, Settings, State, Values
from cfsweep.training.ingredients._pieces import Penalty
from cfsweep.training.ingredients._quadratic import quadratic_gradient


class EWC(Penalty):
    """Penalty ½·λ·Σ_k Σ_j F_kj (θ_j - θ*_kj)², with F the diagonal Fisher information of each finished task.

    `separate` keeps one anchor per task; the sum of quadratics is itself one quadratic, of curvature S = ΣF_k and
    centre C = ΣF_k θ*_k / ΣF_k, so two vectors hold any number of tasks exactly (up to a constant that has no
    gradient). `online` has S ← γS + F and the latest weights as its centre.

    References:
        Kirkpatrick et al. 2017, eq. 3 (`separate`, with λ as there); Schwarz et al. 2018, eq. 9 (`online`);
        Huszár 2018 on why the sum collapses; Kunstner et al. 2019 on the kinds of Fisher.
    """

    name = "ewc"
    summary = "quadratic penalty toward old weights, weighted by the Fisher diagonal"
    paper = "Kirkpatrick et al. 2017, PNAS 114(13)"
    hypers = (
        Hyper("ewc_lambda", "float", 100.0, "strength of the penalty", low=0.0, off=0.0, takes_effect="later"),
        Hyper(
            "ewc_gamma",
            "float",
            1.0,
            "decay of old curvature (online)",
            low=0.0,
            high=1.0,
            takes_effect="later",
            only_with=("ewc_mode", "online"),
        ),
        Hyper(
            "ewc_mode",
            "choice",
            "separate",
            "one anchor per task, or one that moves",
            choices=("separate", "online"),
            static=True,
        ),
        Hyper(
            "ewc_fisher",
            "choice",
            "true",
            "labels of the Fisher: sampled, predicted or from the data",
            choices=("true", "predicted", "empirical"),
            static=True,
        ),
        Hyper("ewc_examples", "int", 200, "examples per task for the Fisher; 0 is all", low=0, static=True),
    )

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._online = settings["ewc_mode"] == "online"
        self._labels = str(settings["ewc_fisher"])
        self._n_examples = int(settings["ewc_examples"])

    @staticmethod
    def conventions(settings: Settings) -> Conventions:
        return Conventions(
            penalty=f"0.5 * lambda * sum F (theta - theta*)^2, {settings['ewc_mode']}",
            fisher=f"{settings['ewc_fisher']} label, mean over examples of squared per-example gradients",
        )

    def initial_state(self, theta: Tensor) -> State:
        return {"curvature": torch.zeros_like(theta), "centre": torch.zeros_like(theta)}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return quadratic_gradient(theta, state["centre"], state["curvature"], values["ewc_lambda"])

    def n_examples(self, n_train: int) -> int:
        return min(self._n_examples or n_train, n_train)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        fisher = self._fisher(theta, examples)
        if self._online:
            return {"curvature": values["ewc_gamma"] * state["curvature"] + fisher, "centre": theta.clone()}
        curvature = state["curvature"] + fisher
        # C' = (S C + F θ) / (S + F), written so that it is exactly θ where S = 0, and C where F = 0.
        share = torch.where(curvature > 0, fisher / curvature, 0.0)
        centre = torch.where(state["curvature"] > 0, state["centre"] + share * (theta - state["centre"]), theta)
        return {"curvature": curvature, "centre": centre}

    def _fisher(self, theta: Tensor, examples: Examples) -> Tensor:
        """The Fisher diagonal (P,): the mean over examples of the squared gradient of log p(label | x)."""
        labels = examples.labels
        if self._labels != "empirical":
            outputs, target = self.context.forward(theta, examples.x), self.context.target
            if self._labels == "predicted":
                labels = target.predict(outputs, examples.mask)
            else:
                labels = target.sample(outputs, examples.mask, examples.uniform)
        return self.context.squared_gradients(theta, examples.x, labels, examples.mask)
