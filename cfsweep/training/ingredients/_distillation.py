"""What distillation measures: how far answers are from soft targets."""

from __future__ import annotations

from torch import Tensor

from cfsweep.training.targets.classification import masked_log_softmax


def soft_targets(logits: Tensor, mask: Tensor) -> Tensor:
    """The probabilities (..., n_outputs) among the outputs in `mask` (..., n_outputs) bool, zero at the others.

    >>> import torch
    >>> soft_targets(torch.tensor([2.0, 2.0, 9.0]), torch.tensor([True, True, False]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    return masked_log_softmax(logits, mask).exp()


def cross_entropy(p: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """H(p, softmax(logits)) = -Σ p log q among the outputs in `mask`, (...); p (..., n_outputs) is zero at the others.

    >>> import torch
    >>> mask = torch.tensor([True, True, False])
    >>> cross_entropy(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 1.0, 9.0]), mask)  # log 2
    tensor(0.6931)
    """
    log_q = masked_log_softmax(logits, mask).masked_fill(~mask, 0.0)  # 0 times minus infinity is no number
    return -(p * log_q).sum(-1)
