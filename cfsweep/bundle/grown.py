"""What a network of fewer outputs has learned, and remedies have kept of it, for one that has more: the rows of the new
outputs are added."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfsweep.errors import InputError
from cfsweep.training.engine.layout import Layout, tensors_of

Shape = tuple[int, ...]


class Grown:
    """From the flat weights of the network `old`, which has `n_old` outputs, to those of `new`, which has `n_new`. What
    has another shape in the two gets the rows of the new outputs.

    Raises:
        InputError: a parameter or statistic differs in something else than its number of rows.
    """

    def __init__(self, old: nn.Module, n_old: int, new: nn.Module, n_new: int, where: str) -> None:
        self.old, self.new = Layout(old, n_old), Layout(new, n_new)
        before, after = map(tensors_of, (old, new))
        can_grow = {entry.name for entry in self.new.entries}
        for name in sorted(before.keys() | after.keys()):
            first, then = (tuple(of[name].shape) if name in of else None for of in (before, after))
            if first != then and not (name in can_grow and has_more_rows(first, then)):
                raise InputError(
                    f"{where}: it can get rows for new outputs, but with {n_new} in place of {n_old} its `{name}` has "
                    f"the shape {then} in place of {first}. Train all tasks again."
                )

    def vector(self, known: Tensor, fresh: Tensor) -> Tensor:
        """(..., P_new): what is `known` (..., P_old) of the old weights; at the rows of new outputs what is `fresh`,
        (..., P_new)."""
        before, dim = self.old.unflatten(known), fresh.dim() - 1
        return self.new.flatten(
            {
                name: before[name] if before[name].shape == begun.shape else with_more_rows(before[name], begun, dim)
                for name, begun in self.new.unflatten(fresh).items()
            }
        )


def has_more_rows(first: Shape | None, then: Shape | None) -> bool:
    """Whether the shape `then` is `first` with more rows.

    >>> has_more_rows((4, 5), (6, 5)), has_more_rows((4, 5), (4, 5)), has_more_rows((4, 5), None)
    (True, False, False)
    """
    return first is not None and then is not None and first[1:] == then[1:] and first[:1] < then[:1]


def with_more_rows(known: Tensor, fresh: Tensor, dim: int) -> Tensor:
    """`known`, and behind it what `fresh` has more along the dimension `dim`.

    >>> with_more_rows(torch.tensor([1, 2]), torch.tensor([7, 8, 9]), 0)
    tensor([1, 2, 9])
    """
    n = known.shape[dim]
    return torch.cat([known, fresh.narrow(dim, n, fresh.shape[dim] - n)], dim)
