"""One or several amounts per example, by least squares."""

from __future__ import annotations

import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream
from cfsweep.training.targets._amounts import Amounts, outputs_of_amounts
from cfsweep.training.targets._base import Outputs
from cfsweep.training.targets._scores import OF_AMOUNTS


class Regression(Amounts):
    """Labels are (n, k): an output for each amount, in units in which the first task's training labels have mean 0 and
    deviation 1 (`Stream.unit`), so that learning rates and strengths mean the same whatever the user's units are. The
    loss is the squared error, mean over the amounts. The likelihood is that of a Gaussian of deviation 1 around each
    output, so that Fisher information is the squared gradient of the output itself.

    In domain-il the outputs of all tasks are the same, in task-il each has its own; the units are those of all.
    """

    name = "regression"
    summary = "one or several amounts per example, by least squares"
    scores = OF_AMOUNTS

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        if stream.unit is None:
            raise InputError(f"stream `{stream.name}`: a regression needs amounts as labels, but it has classes.")
        shift, scale = stream.unit
        return outputs_of_amounts(stream, scenario, (stream.y - shift) / scale, "an amount", stream.unit)

    def each_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """
        >>> Regression().losses(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]), torch.ones(1, 2).bool())
        tensor([2.5000])
        """
        return (outputs - labels).square()

    def each_loss_gradient(self, outputs: Tensor, labels: Tensor, n: int) -> Tensor:
        return (outputs - labels) * (2 / n)

    def each_log_likelihood(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return -(outputs - labels).square() / 2

    def each_log_likelihood_gradient(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return labels - outputs

    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs

    def constant(self, labels: Tensor, n_outputs: int) -> Tensor:
        """The mean."""
        return labels.mean(0)

    def sample(self, outputs: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
        """From the Gaussian around each output, by inverse transform."""
        least = torch.finfo(uniform.dtype).tiny  # at 0 it would be infinitely far away
        noise: Tensor = torch.special.ndtri(uniform.clamp_min(least))
        return outputs + noise
