"""Several labels per example, each of which holds or not, by a sigmoid each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Indices, Stream
from cfsweep.training.targets._base import Outputs, Target, shared_outputs
from cfsweep.training.targets._scores import OF_LABELS


class MultiLabel(Target):
    """Labels are (n, k) of 0 and 1: an output for each label, the logit of its probability. The loss is the binary
    cross-entropy, mean over the labels. In domain-il alone: each label is asked for in every task."""

    name = "multi-label"
    summary = "several labels per example, each of which holds or not, by a sigmoid each"
    has_classes = False
    scores = OF_LABELS

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        if stream.y.dim() != 2:
            raise InputError(
                f"stream `{stream.name}`: several labels per example are (n, k) of 0 and 1, but it has classes."
            )
        return shared_outputs(stream, scenario, stream.y, "an output is a label")

    def classes(self, stream: Stream) -> Indices:
        return np.zeros(len(stream.y), np.int64)

    def losses(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """
        >>> MultiLabel().losses(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), torch.ones(1, 2).bool())  # log 2
        tensor([0.6931])
        """
        return -_log_likelihoods(outputs, labels).mean(-1)

    def loss_and_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        gradient = (outputs.sigmoid() - labels) / (outputs.shape[-2] * outputs.shape[-1])
        return -_log_likelihoods(outputs, labels).mean((-2, -1)), gradient

    def log_likelihood(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return _log_likelihoods(outputs, labels).sum(-1)

    def log_likelihood_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return labels - outputs.sigmoid()

    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """1 where a label is likelier than not."""
        return (outputs > 0).to(outputs.dtype)

    def probabilities(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """That of each label."""
        return outputs.sigmoid()

    def constant(self, labels: Tensor, n_outputs: int) -> Tensor:
        """The logit of how often each label holds."""
        return torch.logit(labels.mean(0))

    def sample(self, outputs: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
        """1 where the uniform number is below the label's probability."""
        return (uniform < outputs.sigmoid()).to(outputs.dtype)


def _log_likelihoods(outputs: Tensor, labels: Tensor) -> Tensor:
    """That of each label, (..., n, k)."""
    return -binary_cross_entropy_with_logits(outputs, labels, reduction="none")
