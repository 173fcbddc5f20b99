"""What the closed forms share: when the network learns, sums by class, and answers that are linear."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._base import Context, State

UNSEEN = torch.finfo(torch.float32).min
"""The output of a class of which no example was seen: below all others, above those that are not active."""


def adapts_hyper(name: str) -> Hyper:
    """Whether the network learns the first task before its features are held still."""
    return Hyper(
        f"{name}_adapts",
        "choice",
        "first-task",
        "whether the network that makes the features is trained on the first task, or never",
        choices=("first-task", "never"),
        static=True,
    )


def n_features(context: Context, name: str) -> int:
    """How many numbers go into the output layer.

    Raises:
        InputError: the output layer's weight is held still, so nobody can say.
    """
    layout = context.layout
    for entry in layout.entries:
        if entry.name == f"{layout.head}.weight":
            return entry.shape[1]
    raise InputError(f"`{name}`: the output layer `{layout.head}` must be trainable, but is held still. Set it free.")


class ClassSums(NamedTuple):
    """Over examples: how many are of each class, (n_outputs, 1), and the sum of their features, (n_outputs, d), both
    float64."""

    counts: Tensor
    sums: Tensor

    @property
    def means(self) -> Tensor:
        """(n_outputs, d); zero where there are no examples."""
        return self.sums / self.counts.clamp(min=1)


def class_sums(features: Tensor, labels: Tensor, n_outputs: int) -> ClassSums:
    """Those of the examples with these features (n, d) and labels (n,). The same bits on each call: by a product, as
    sums by index have no fixed order on a GPU.

    >>> class_sums(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 1]), 2).sums
    tensor([[0., 0.],
            [4., 6.]], dtype=torch.float64)
    """
    is_of = one_hot(labels, n_outputs)
    return ClassSums(is_of.sum(0).unsqueeze(1), is_of.T @ features.double())


def one_hot(labels: Tensor, n_outputs: int) -> Tensor:
    """(n, n_outputs) float64: 1 at the label of each example, else 0."""
    return (labels.unsqueeze(-1) == torch.arange(n_outputs, device=labels.device)).double()


def linear_answers(weights: Tensor, bias: Tensor, counts: Tensor) -> State:
    """What `linear_outputs` goes by, float32: weights (n_outputs, d) and bias (n_outputs,), and `UNSEEN` for classes
    whose counts (n_outputs, 1) are 0."""
    seen = counts[:, 0] > 0
    return {
        "weights": torch.where(seen.unsqueeze(1), weights, 0.0).float(),
        "bias": torch.where(seen, bias.float(), UNSEEN),
    }


def linear_outputs(features: Tensor, held: State) -> Tensor:
    """(n, n_outputs): w·x + b for each example, features (n, d), and class.

    >>> held = linear_answers(torch.tensor([[2.0], [5.0]]), torch.tensor([1.0, 1.0]), torch.tensor([[3.0], [3.0]]))
    >>> linear_outputs(torch.tensor([[10.0]]), held)
    tensor([[21., 51.]])
    """
    return features @ held["weights"].mT + held["bias"]
