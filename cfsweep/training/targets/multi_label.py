"""Several labels per example, each of which holds or not, by a sigmoid each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Stream
from cfsweep.training.targets._amounts import Amounts, outputs_of_amounts
from cfsweep.training.targets._base import Outputs
from cfsweep.training.targets._scores import OF_LABELS


class MultiLabel(Amounts):
    """Labels are (n, k) of 0 and 1: an output for each label, the logit of its probability. The loss is the binary
    cross-entropy, mean over the labels. In domain-il each label has one output, in task-il one for each task."""

    name = "multi-label"
    summary = "several labels per example, each of which holds or not, by a sigmoid each"
    scores = OF_LABELS

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        if stream.y.dim() != 2:
            raise InputError(
                f"stream `{stream.name}`: several labels per example are (n, k) of 0 and 1, but it has classes."
            )
        return outputs_of_amounts(stream, scenario, stream.y, "a label")

    def each_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """
        >>> MultiLabel().losses(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), torch.ones(1, 2).bool())  # log 2
        tensor([0.6931])
        """
        return binary_cross_entropy_with_logits(outputs, labels, reduction="none")

    def each_loss_gradient(self, outputs: Tensor, labels: Tensor, n: int) -> Tensor:
        return (outputs.sigmoid() - labels) / n

    def each_log_likelihood(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return -self.each_loss(outputs, labels)

    def each_log_likelihood_gradient(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return labels - outputs.sigmoid()

    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """1 where a label is likelier than not."""
        return (outputs > 0).to(outputs.dtype)

    def probabilities(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """That of each label."""
        return torch.where(mask, outputs.sigmoid(), 0.0)

    def constant(self, labels: Tensor, n_outputs: int) -> Tensor:
        """The logit of how often each label holds."""
        return torch.logit(labels.mean(0))

    def sample(self, outputs: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
        """1 where the uniform number is below the label's probability."""
        return (uniform < outputs.sigmoid()).to(outputs.dtype)
