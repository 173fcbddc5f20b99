"""L2-SP for a training loop of one's own."""

from __future__ import annotations

from torch import nn

from cfsweep.modules._penalty import QuadraticPenalty, no_examples
from cfsweep.training.ingredients.l2_sp import L2SP


class L2SPPenalty(QuadraticPenalty):
    """½·strength·Σ (θ - θ*)², every weight alike: the ingredient `l2-sp` for one `model`.

    Raises:
        InputError: a value is not legal, or the model has no output layer, or nothing to train.

    References:
        Li, Grandvalet & Davoine 2018, eq. 2; see the ingredient.

    >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
    >>> _ = nn.init.constant_(model[0].weight, 3.0)
    >>> l2_sp = L2SPPenalty(model, strength=4.0)
    >>> l2_sp.consolidate()
    >>> _ = nn.init.constant_(model[0].weight, 3.5)
    >>> l2_sp.penalty().item()
    0.5
    """

    kind = L2SP

    def __init__(self, model: nn.Module, strength: float = 0.1) -> None:
        super().__init__(model, {"strength": ("l2_sp_lambda", strength)})

    def consolidate(self) -> None:
        """Takes in a task that has ended: its weights are what is held on to from now on."""
        self._end_task(no_examples(self.one.theta()))
