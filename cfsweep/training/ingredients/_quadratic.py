"""What penalties that hold weights near old ones share."""

from __future__ import annotations

from torch import Tensor


def quadratic_gradient(theta: Tensor, centre: Tensor, curvature: Tensor, strength: Tensor) -> Tensor:
    """The gradient of ½·strength·Σ_j curvature_j (θ_j - centre_j)², with `strength` a scalar and all else (P,).

    It works in place on a vector of its own: in each step of each run, new ones for every product would cost more
    than the products.

    >>> import torch
    >>> theta, centre, curvature = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 3.0]), torch.tensor([2.0, 0.5])
    >>> quadratic_gradient(theta, centre, curvature, torch.tensor(10.0))
    tensor([20., 10.])
    """
    moved = theta - centre
    return moved.mul_(curvature).mul_(strength)
