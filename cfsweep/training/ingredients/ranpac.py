"""RanPAC: features through a random projection and a ReLU, and ridge regression on these by sums alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State
from cfsweep.training.ingredients._closed_form import (
    adapts_hyper,
    linear_answers,
    linear_outputs,
    n_features,
    one_hot,
)
from cfsweep.training.ingredients._pieces import ClosedForm

RIDGES = tuple(10.0**power for power in range(-8, 9))  # among which λ is chosen
FIT_FRAC = 0.8  # of a task's examples, to choose λ by the others


class RanPAC(ClosedForm):
    """h = ReLU(fᵀW), where f (d,) is what goes into the output layer and W (d, M) is drawn once, standard normal.

    - Over all training examples so far the Gram matrix G = Σ hhᵀ and, for each class, the sum C of its h.
    - The outputs are hᵀ(G + λI)⁻¹C: ridge regression of the one-hot labels, without an intercept.
    - λ: with `held-out`, the paper's way, each task chooses it among 10⁻⁸ .. 10⁸ by the squared error of a regression
      on 80 percent of its own examples at the others, and the latest choice answers; with `given` it is
      `ranpac_ridge`, which acts in the answers alone, so that runs that differ in it share all else.
    - Before that the network is trained on the first task by its output layer, and stays as it is from then on
      (`ranpac_adapts`); with an encoder, or the network `linear`, there is nothing to train.

    Departures: M is 2,000 by default, the paper's 10,000 is 25 times the memory (M² numbers of 8 bytes for each row of
    a pack). First-session adaptation is training of the whole network with the settings of the trial, not of a
    transformer's prompts, scales or adapters. The examples of a task come in random order before the cut into 80 and
    20 percent. A class of which no example was seen is never the answer.

    References:
        McDonnell et al. 2023 (arXiv 2307.02251), section 4 and algorithm 1; the choice of λ: their appendix and code.
    """

    name = "ranpac"
    summary = "answers by ridge regression on randomly projected features, from their Gram matrix and class sums"
    paper = "McDonnell et al. 2023, NeurIPS, arXiv 2307.02251"
    hypers = (
        Hyper("ranpac_projection", "int", 2000, "M, the number of random features", low=1, static=True),
        Hyper(
            "ranpac_ridge_by",
            "choice",
            "held-out",
            "how λ is found: by each task's own held-out examples, or as given",
            choices=("held-out", "given"),
            static=True,
        ),
        Hyper(
            "ranpac_ridge",
            "float",
            1e3,
            "λ, what is added to the diagonal of the Gram matrix",
            low=0.0,
            off=0.0,
            takes_effect="answers",
            only_with=("ranpac_ridge_by", "given"),
        ),
        adapts_hyper("ranpac"),
    )
    needs_classes = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._n_outputs, self._m = context.outputs.n_outputs, int(settings["ranpac_projection"])
        self._chooses = settings["ranpac_ridge_by"] == "held-out"

    def initial_state(self, theta: Tensor) -> State:
        d, m, n = n_features(self.context, self.name), self._m, self._n_outputs
        shapes = {"counts": (n, 1), "sums": (n, m), "gram": (m, m), "ridge": (1,)}
        drawn = {"projection": theta.new_zeros(d, m)}
        return drawn | {name: theta.new_zeros(shape).double() for name, shape in shapes.items()}

    def adapts(self) -> bool:
        return self.settings["ranpac_adapts"] == "first-task"

    def accumulate(self, state: State, features: Tensor, labels: Tensor, rng: np.random.Generator) -> State:
        projection = state["projection"]
        normal = torch.from_numpy(rng.standard_normal(projection.shape, np.float32)).to(projection)
        projection = torch.where(state["counts"].sum() > 0, projection, normal)
        order = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
        h, y = projected(features[order], projection).double(), one_hot(labels[order], self._n_outputs)
        return {
            "projection": projection,
            "counts": state["counts"] + y.sum(0).unsqueeze(1),
            "sums": state["sums"] + y.T @ h,
            "gram": state["gram"] + h.T @ h,
            "ridge": torch.full_like(state["ridge"], chosen_ridge(h, y)) if self._chooses else state["ridge"],
        }

    def solve(self, state: State, values: Mapping[str, float]) -> State:
        ridge = float(state["ridge"]) if self._chooses else values["ranpac_ridge"]
        weights = regression(state["gram"], state["sums"], ridge)
        answers = linear_answers(weights, weights.new_zeros(self._n_outputs), state["counts"])
        return {**answers, "projection": state["projection"]}

    def outputs_for(self, features: Tensor, held: State) -> Tensor:
        return linear_outputs(projected(features, held["projection"]), held)


def projected(features: Tensor, projection: Tensor) -> Tensor:
    """h (n, M) of features (n, d), by the projection (d, M).

    >>> projected(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -3.0], [1.0, 1.0]]))
    tensor([[3., 0.]])
    """
    return torch.relu(features @ projection)


def regression(gram: Tensor, sums: Tensor, ridge: float) -> Tensor:
    """(n_outputs, M): (G + λI)⁻¹C transposed, by the Gram matrix (M, M) and the sums C of each class (n_outputs, M).

    >>> regression(torch.tensor([[3.0]]), torch.tensor([[8.0]]), 1.0)
    tensor([[2.]])
    """
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved: Tensor = torch.linalg.solve(gram + ridge * identity, sums.T).T
    return solved


def chosen_ridge(h: Tensor, y: Tensor) -> float:
    """The one of `RIDGES` with the smallest of the `held_out_errors`; of equals the smallest."""
    return RIDGES[int(np.argmin(held_out_errors(h, y)))]


def held_out_errors(h: Tensor, y: Tensor) -> list[float]:
    """For each of `RIDGES` the squared error of a regression on the first `FIT_FRAC` of the examples, h (n, M) and
    one-hot labels y (n, n_outputs), at the others, summed."""
    n = int(FIT_FRAC * len(h))
    fit, right, rest = h[:n], y[:n], h[n:]
    # (HᵀH + λI)⁻¹Hᵀ = Hᵀ(HHᵀ + λI)⁻¹: one decomposition of the smaller of the two products serves for every λ.
    dual = n < h.shape[1]
    values, vectors = torch.linalg.eigh(fit @ fit.T if dual else fit.T @ fit)
    values = values.clamp(min=0)
    seen = (rest @ fit.T if dual else rest) @ vectors
    labels = vectors.T @ (right if dual else fit.T @ right)
    return [float((seen / (values + ridge) @ labels - y[n:]).square().sum()) for ridge in RIDGES]
