"""The shares by which new and old tasks are mixed."""

from __future__ import annotations

from torch import Tensor


def loss_shares(weight: Tensor, task: int) -> tuple[Tensor, Tensor]:
    """The shares 1/(1 + w·t) of the new task and w·t/(1 + w·t) of the `task` = t old ones, scalars that add up to 1.

    `weight` is what an old task counts beside the new one. At 1 all tasks count alike: 1/(t + 1) and 1 - 1/(t + 1), as
    van de Ven & Tolias 2019 (arXiv 1904.07734) mix the losses. These are r and 1 - r of Shin et al. 2017 (arXiv
    1705.08690), eq. 1, who leave it open how r depends on the importance of the new task. At 0 the old ones count
    nothing.

    >>> import torch
    >>> loss_shares(torch.tensor(1.0), 3)
    (tensor(0.2500), tensor(0.7500))
    >>> loss_shares(torch.tensor(0.0), 3)
    (tensor(1.), tensor(0.))
    """
    old = weight * task
    return 1 / (1 + old), old / (1 + old)
