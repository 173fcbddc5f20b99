"""What penalties that hold weights near old ones share."""

from __future__ import annotations

from torch import Tensor


def pull(theta: Tensor, centre: Tensor, curvature: Tensor, strength: Tensor) -> Tensor:
    """The gradient (P,) of ½·strength·Σ_j curvature_j (θ_j - centre_j)², with `strength` a scalar and all else (P,).

    >>> import torch
    >>> theta, centre, curvature = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 3.0]), torch.tensor([2.0, 0.5])
    >>> pull(theta, centre, curvature, torch.tensor(10.0))
    tensor([20., 10.])
    """
    return strength * (curvature * (theta - centre))
