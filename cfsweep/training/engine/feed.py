"""Batches of examples that lie beside the device: other processes fetch them while it trains on those before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

LOADERS = 4  # processes at most, as many as keep a disk busy; one core is left for training


class Feed:
    """The examples of `x` (N, *shape), which lies on the host, of batches in an order that is known before: `batches`
    are their indices (n,). Each is on the `device` when it is asked for; they are asked for in that order, from any one
    on. Which process fetches what changes nothing."""

    def __init__(self, x: Tensor, batches: Sequence[Tensor], device: torch.device) -> None:
        self.fetched, self.device = _Fetched(x, batches), device
        self._next = -1
        self._coming: Iterator[Tensor] = iter(())

    def at(self, step: int) -> Tensor:
        """(n, *shape): the examples of batch `step`."""
        if step != self._next:
            self._coming = self._from(step)
        batch = next(self._coming)
        self._next = step + 1
        return batch.to(self.device, non_blocking=True)

    def _from(self, step: int) -> Iterator[Tensor]:
        loaders = min(LOADERS, len(os.sched_getaffinity(0)) - 1)
        return iter(
            DataLoader(
                self.fetched,
                batch_size=None,
                sampler=range(step, len(self.fetched)),
                num_workers=loaders,
                pin_memory=self.device.type == "cuda",
            )
        )


class _Fetched(Dataset[Tensor]):
    def __init__(self, x: Tensor, batches: Sequence[Tensor]) -> None:
        self.x, self.batches = x, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Tensor:
        return self.x.index_select(0, self.batches[step])
