"""Examples of a loop of one's own, and what is to be said where they are no such thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

import torch
from torch import Tensor

from cfsweep.errors import InputError

Batch = tuple[Tensor, Tensor]
Data = Batch | Iterable[Batch]
"""Examples x (n, ...) and labels (n,), or batches of them, as a DataLoader gives."""


def gathered(data: Data, where: str) -> Batch:
    """All examples x (n, ...) and labels (n,) of `data`, in their order; n > 0.

    Raises:
        InputError: it is something else.
    """
    pairs: list[Batch] = []
    for batch in [data] if _is_pair(data) else data:
        if not _is_pair(batch):
            raise InputError(
                f"{where}: the examples must be (x, y), two tensors, or batches of them, but got "
                f"{type(batch).__name__}. Give (x, y)."
            )
        pairs.append((batch[0], batch[1]))
    for x, y in pairs:
        if x.dim() < 1 or y.dim() != 1 or len(x) != len(y) or y.is_floating_point():
            raise InputError(
                f"{where}: the labels must be whole numbers (n,), one for each example of x (n, ...), but got y "
                f"{y.dtype} {tuple(y.shape)} beside x {tuple(x.shape)}. Give one class number per example."
            )
    if not sum(len(x) for x, _ in pairs):
        raise InputError(f"{where}: it needs examples of the task that has ended, but got none. Give some.")
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]).long()


def active_outputs(mask: Tensor | None, n: int, n_outputs: int, where: str) -> Tensor:
    """(n, n_outputs) bool: the outputs active for each of n examples, from `mask` (n_outputs,) or (n, n_outputs), or
    all where there is none.

    Raises:
        InputError: it is none of these.
    """
    if mask is None:
        return torch.ones(n, n_outputs, dtype=torch.bool)
    if mask.dtype != torch.bool or tuple(mask.shape) not in ((n_outputs,), (n, n_outputs)):
        raise InputError(
            f"{where}: the mask must be bool, ({n_outputs},) or ({n}, {n_outputs}): the outputs that are active, but "
            f"got {mask.dtype} {tuple(mask.shape)}. Give one bool for each output."
        )
    if not bool(mask.any(-1).all()):
        raise InputError(
            f"{where}: the mask must leave each example an output, but one has none. Set those of its task to True."
        )
    return mask.expand(n, n_outputs)


def require_active(labels: Tensor, mask: Tensor, where: str) -> None:
    """That each of the labels (n,) is one of the outputs active for its example, by `mask` (n, n_outputs).

    Raises:
        InputError: one is not; without this a likelihood of zero would make everything NaN.
    """
    n_outputs = mask.shape[1]
    outside = (labels < 0) | (labels >= n_outputs)
    wrong = outside | ~mask.to(labels.device).gather(1, labels.clamp(0, n_outputs - 1).unsqueeze(1)).squeeze(1)
    if bool(wrong.any()):
        raise InputError(
            f"{where}: each label must be the number of an active output of the {n_outputs}, but one is "
            f"{int(labels[wrong][0])}. Give the mask of the task, and labels from 0."
        )


def _is_pair(data: object) -> TypeGuard[Batch]:
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)
