"""Streaming linear discriminant analysis: running class means and one covariance that all classes share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, Settings, State
from cfsweep.training.ingredients._closed_form import (
    ClassSums,
    adapts_hyper,
    class_sums,
    linear_answers,
    linear_outputs,
    n_features,
    one_hot,
)
from cfsweep.training.ingredients._pieces import ClosedForm


class StreamingLDA(ClosedForm):
    """Gaussian classes that share a covariance, each example seen once. z is what goes into the output layer.

    With c_y and μ_y of the class of example t, before it comes, and t counted from 0:

    - δ = z - μ_y, and Σ ← (t Σ + t/(t+1) δδᵀ) / (t+1), so that (t+1) Σ is a sum of t/(t+1) δδᵀ;
    - μ_y ← (c_y μ_y + z) / (c_y + 1), c_y ← c_y + 1.
    - Λ = ((1-ε) Σ + ε I)⁻¹, and the outputs are w_k·z + b_k with w_k = Λ μ_k, b_k = -½ μ_k·Λμ_k; ε is
      `slda_shrinkage`. At ε = 1 these are those of the nearest class mean.

    ε acts in the answers alone: runs that differ in it share all else. The examples of a task come in random order.

    Departures. The first example of a class, which has no mean yet, adds nothing to Σ; in the authors' code, whose
    means begin at zero, it adds zzᵀ. Their covariance may begin with an estimate on the first classes at once, by
    shrinkage of Oracle type; here it begins with the first example. Their network is trained on the first classes and
    then stays as it is, as here; `slda_adapts=never` leaves that out. The factor t/(t+1) is of
    all examples, as in the paper; with c_y in place of t the sum would be exactly that about the final means.

    References:
        Hayes & Kanan 2020 (arXiv 1909.01520), section 3 (the updates of means and covariance, Λ, ε = 1e-4), and
        the authors' code.
    """

    name = "slda"
    summary = "answers by linear discriminants of features, from running class means and one shared covariance"
    paper = "Hayes & Kanan 2020, CVPR workshops, arXiv 1909.01520"
    hypers = (
        Hyper(
            "slda_shrinkage",
            "float",
            1e-4,
            "ε, the share of the identity in the covariance; 1 is the nearest class mean",
            low=0.0,
            high=1.0,
            off=0.0,
            takes_effect="answers",
        ),
        adapts_hyper("slda"),
    )
    needs_classes = True

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__(context, settings)
        self._n_outputs = context.outputs.n_outputs

    def initial_state(self, theta: Tensor) -> State:
        d = n_features(self.context, self.name)
        shapes = {"counts": (self._n_outputs, 1), "sums": (self._n_outputs, d), "scatter": (d, d)}
        return {name: theta.new_zeros(shape).double() for name, shape in shapes.items()}

    def adapts(self) -> bool:
        return self.settings["slda_adapts"] == "first-task"

    def accumulate(self, state: State, features: Tensor, labels: Tensor, rng: np.random.Generator) -> State:
        order = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)
        z, y = features[order].double(), labels[order]
        before, new = ClassSums(state["counts"], state["sums"]), class_sums(z, y, self._n_outputs)
        t = before.counts.sum() + torch.arange(len(z), device=z.device)
        weighted = deviations(z, y, before) * (t / (t + 1)).sqrt().unsqueeze(1)
        return {
            "counts": before.counts + new.counts,
            "sums": before.sums + new.sums,
            "scatter": state["scatter"] + weighted.T @ weighted,
        }

    def solve(self, state: State, values: Mapping[str, float]) -> State:
        epsilon, counts, scatter = values["slda_shrinkage"], state["counts"], state["scatter"]
        means = ClassSums(counts, state["sums"]).means
        identity = torch.eye(len(scatter), dtype=scatter.dtype, device=scatter.device)
        shrunk = (1 - epsilon) * scatter / counts.sum() + epsilon * identity
        weights = torch.linalg.solve(shrunk, means.T).T
        return linear_answers(weights, -0.5 * (means * weights).sum(1), counts)

    def outputs_for(self, features: Tensor, held: State) -> Tensor:
        return linear_outputs(features, held)


def deviations(z: Tensor, y: Tensor, before: ClassSums) -> Tensor:
    """(n, d): for each example, features z (n, d) float64 and classes y (n,), how far it is from the mean of its class
    as the examples `before`, and those ahead of it, make that; 0 for the first of its class.

    >>> none = ClassSums(torch.zeros(2, 1), torch.zeros(2, 1))
    >>> deviations(torch.tensor([[1.0], [5.0], [4.0], [6.0]]), torch.tensor([0, 1, 0, 0]), none).flatten()
    tensor([0.0000, 0.0000, 3.0000, 3.5000])
    """
    found = torch.zeros_like(z)
    ahead = one_hot(y, len(before.counts))
    for label in torch.unique(y).tolist():
        mine = ahead[:, label] > 0
        own = z[mine]
        counts = before.counts[label] + torch.arange(len(own), device=z.device, dtype=z.dtype).unsqueeze(1)
        sums = before.sums[label] + own.cumsum(0) - own
        found[mine] = torch.where(counts > 0, own - sums / counts.clamp(min=1), 0.0)
    return found
