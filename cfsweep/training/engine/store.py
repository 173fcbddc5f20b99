"""The stream's examples where the training happens."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from cfsweep.training.streams import Stream

_latest: tuple[weakref.ref[Stream], Store] | None = None
FLOAT_BYTES = 512 * 2**20  # up to this size the store is kept ready for use, as float32


class Store:
    """Examples by index, normalised, on `device`.

    Small stores are normalised once. Larger ones stay uint8 and are converted batch by batch. One that would take
    more than half of a GPU's free memory stays in pinned host memory, and batches travel.
    """

    def __init__(self, stream: Stream, device: torch.device) -> None:
        self.device = device
        self.shift, self.scale = stream.shift, stream.scale
        self.example_bytes = stream.x[0].numel() * stream.x.element_size()
        x = stream.x
        self.ready = x.numel() * 4 <= FLOAT_BYTES
        if self.ready:
            x = self._normalise(x)
        on_device = device.type == "cpu" or x.numel() * x.element_size() < torch.cuda.mem_get_info(device)[0] // 2
        self.x = x.to(device) if on_device else x.pin_memory()

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Examples (*indices.shape, *input_shape), float32, on the device; `indices` int64."""
        places = indices.reshape(-1).to(self.x.device)
        x = self.x.index_select(0, places).view(*indices.shape, *self.x.shape[1:])
        if x.device != indices.device:
            x = x.pin_memory().to(self.device, non_blocking=True)
        return x if self.ready else self._normalise(x)

    def _normalise(self, x: Tensor) -> Tensor:
        return x.to(torch.float32, copy=True).sub_(self.shift).mul_(self.scale)


def store_on(device: torch.device, stream: Stream) -> Store:
    """`Store(stream, device)`; the same one for the packs that a process trains one after the other."""
    global _latest
    if _latest is None or _latest[0]() is not stream or _latest[1].device != device:
        _latest = None  # frees the old store before the new one is built
        _latest = weakref.ref(stream), Store(stream, device)
    return _latest[1]
