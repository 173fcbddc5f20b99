"""Elastic weight consolidation for a training loop of one's own."""

from __future__ import annotations

from torch import Tensor, nn

from cfsweep.modules._examples import Data
from cfsweep.modules._penalty import QuadraticPenalty
from cfsweep.modules._values import Given
from cfsweep.training.ingredients.ewc import EWC


class EWCPenalty(QuadraticPenalty):
    """½·strength·Σ F (θ - θ*)², F the diagonal Fisher information: the ingredient `ewc` for one `model`.

    `mode` is `separate` (one anchor per task) or `online` (one that moves, `gamma` decays the old curvature); `fisher`
    says of what labels it is: sampled from the model (`true`), `predicted`, or from the data (`empirical`); `examples`
    is how many of a task's it is the mean over, 0 for all. `strength` is λ as in the paper. The model maps x (n, ...)
    to outputs (n, n_outputs), of which a mask may tell the active ones.

    Raises:
        InputError: a value is not legal, or the model has no output layer, or nothing to train.

    References:
        Kirkpatrick et al. 2017, eq. 3; Schwarz et al. 2018, eq. 9 (`online`); see the ingredient.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> ewc = EWCPenalty(model, strength=10.0)
    >>> ewc.consolidate((torch.ones(3, 2), torch.tensor([0, 1, 1])))
    >>> ewc.penalty().item()  # at the anchor
    0.0
    """

    kind, centre = EWC, "centre"

    def __init__(
        self,
        model: nn.Module,
        strength: float = 100.0,
        mode: str = "separate",
        fisher: str = "true",
        gamma: float = 1.0,
        examples: int = 200,
        seed: int = 0,
    ) -> None:
        given: Given = {
            "strength": ("ewc_lambda", strength),
            "mode": ("ewc_mode", mode),
            "fisher": ("ewc_fisher", fisher),
            "gamma": ("ewc_gamma", gamma),
            "examples": ("ewc_examples", examples),
        }
        super().__init__(model, given, seed)

    def consolidate(self, data: Data, mask: Tensor | None = None) -> None:
        """Takes in a task that has ended, by its training examples `data`: (x, y), or batches of them.

        `mask` are the outputs active for them, (n_outputs,) or (n, n_outputs) bool; all if there is none.

        Raises:
            InputError: these are no examples, or a label is no active output.
        """
        self._end_task(self._chosen(data, mask, labels_count=True))
