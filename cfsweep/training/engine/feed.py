"""Batches of examples that lie beside the device: they are fetched while it trains on those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

FETCHERS = 4  # threads, as many as keep a disk busy; copying lets others work
AHEAD = 8  # batches


class Feed:
    """The examples of `x` (N, *shape), which lies on the host, of batches in an order that is known before: `batches`
    are their indices (n,). Each is on the `device` when it is asked for; they are asked for in that order, from any one
    on."""

    def __init__(self, x: Tensor, batches: Sequence[Tensor], device: torch.device) -> None:
        self.x, self.batches, self.device = x, batches, device
        self._coming: deque[Future[Tensor]] = deque()  # the batches before `_end`
        self._end = 0

    def at(self, step: int) -> Tensor:
        """(n, *shape): the examples of batch `step`."""
        if step != self._end - len(self._coming):
            self._coming.clear()
            self._end = step
        while self._end < min(step + AHEAD, len(self.batches)):
            self._coming.append(_fetchers().submit(self._fetched, self._end))
            self._end += 1
        return self._coming.popleft().result().to(self.device, non_blocking=True)

    def _fetched(self, step: int) -> Tensor:
        batch = self.x.index_select(0, self.batches[step])
        return batch.pin_memory() if self.device.type == "cuda" else batch


@cache
def _fetchers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FETCHERS, "fetch")
