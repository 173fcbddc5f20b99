"""Memory aware synapses for a training loop of one's own."""

from __future__ import annotations

from torch import Tensor, nn

from cfsweep.modules._examples import Data
from cfsweep.modules._penalty import QuadraticPenalty
from cfsweep.training.ingredients.mas import MAS


class MASPenalty(QuadraticPenalty):
    """strength·Σ Ω (θ - θ*)², Ω how sensitive the outputs are: the ingredient `mas` for one `model`.

    `examples` is how many of a task's Ω is the mean over, 0 for all. No label is looked at.

    Raises:
        InputError: a value is not legal, or the model has no output layer, or nothing to train.

    References:
        Aljundi et al. 2018, eq. 2, 3 and 4; see the ingredient.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
    >>> _ = nn.init.constant_(model[0].weight, 3.0)
    >>> mas = MASPenalty(model, strength=1.0)
    >>> mas.consolidate((torch.tensor([[2.0]]), torch.tensor([0])))  # Ω = |d (3·2)²/dw| = 2·6·2 = 24
    >>> _ = nn.init.constant_(model[0].weight, 3.5)
    >>> mas.penalty().item()
    6.0
    """

    kind = MAS

    def __init__(self, model: nn.Module, strength: float = 1.0, examples: int = 200, seed: int = 0) -> None:
        super().__init__(model, {"strength": ("mas_lambda", strength), "examples": ("mas_examples", examples)}, seed)

    def consolidate(self, data: Data, mask: Tensor | None = None) -> None:
        """Takes in a task that has ended, by its training examples `data`: (x, y), or batches of them.

        `mask` are the outputs active for them, (n_outputs,) or (n, n_outputs) bool; all if there is none.

        Raises:
            InputError: these are no examples.
        """
        self._end_task(self._chosen(data, mask, labels_count=False))
