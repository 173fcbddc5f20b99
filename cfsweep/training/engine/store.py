"""The stream's examples where the training happens."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from cfsweep.training.streams import Stream

FLOAT_BYTES = 512 * 2**20  # up to this size the store is kept ready for use, as float32
_kept: list[tuple[weakref.ref[Stream], Store]] = []  # oldest first


class Store:
    """Examples by index, normalised, on `device`.

    Small stores are normalised once. Larger ones stay uint8 and are converted batch by batch. One that would take
    more than half of a GPU's free memory stays on the host, and batches travel. Those of a stream that is augmented
    stay as they are, too: augmentation comes before normalisation.
    """

    def __init__(self, stream: Stream, device: torch.device, there: Tensor | None = None) -> None:
        """`there` are the examples as they lie on the device already, not normalised, for another split."""
        self.device = device
        self.shift, self.scale = (_on(device, value) for value in (stream.shift, stream.scale))
        self.example_bytes = stream.x[0].numel() * stream.x.element_size()
        x = stream.x
        self.ready = _is_kept_ready(stream)
        if there is not None and not self.ready:
            self.x = there
            return
        if self.ready:
            x = _normalised(x, stream.shift, stream.scale)
        on_device = device.type == "cpu" or x.numel() * x.element_size() < torch.cuda.mem_get_info(device)[0] // 2
        # What is mapped from a file need not fit into memory, and is read where it is looked at.
        self.x = x.to(device) if on_device else x

    @property
    def travels(self) -> bool:
        """Whether examples lie on the host, and go to the device when they are asked for."""
        return self.x.device.type != self.device.type

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Examples (*indices.shape, *input_shape), float32, on the device; `indices` int64."""
        return self.seen(self.kept(indices))

    def seen(self, x: Tensor) -> Tensor:
        """Examples (..., *input_shape) as they are kept, as the network sees them: float32."""
        return x if self.ready else _normalised(x, self.shift, self.scale)

    def kept(self, indices: Tensor) -> Tensor:
        """Examples (*indices.shape, *input_shape) on the device, as they are kept: of a stream that is augmented as it
        has them."""
        places = indices.reshape(-1).to(self.x.device)
        x = self.x.index_select(0, places).view(*indices.shape, *self.x.shape[1:])
        if x.device != indices.device:
            x = x.pin_memory().to(self.device, non_blocking=True)
        return x


def _normalised(x: Tensor, shift: float | Tensor, scale: float | Tensor) -> Tensor:
    return x.to(torch.float32, copy=True).sub_(shift).mul_(scale)


def _on(device: torch.device, value: float | Tensor) -> float | Tensor:
    return value.to(device) if isinstance(value, Tensor) else value


def _is_kept_ready(stream: Stream) -> bool:
    return stream.x.numel() * 4 <= FLOAT_BYTES and not stream.augment


def store_on(device: torch.device, stream: Stream) -> Store:
    """`Store(stream, device)`; the same one for the packs that a process trains one after the other, also where they
    take turns with the splits of a stream, as far as their stores fit into `FLOAT_BYTES` together."""
    _kept[:] = [(of, store) for of, store in _kept if store.device == device and _same_examples(of(), stream)]
    found = next((store for of, store in _kept if of() is stream), None)
    if found is None:
        there = next((store.x for _, store in _kept if not store.ready), None)
        most = max(1, FLOAT_BYTES // (4 * max(1, stream.x.numel())))
        del _kept[: max(0, len(_kept) + 1 - most)]  # frees old stores before the new one is built
        found = Store(stream, device, there)
        _kept.append((weakref.ref(stream), found))
    return found


def _same_examples(one: Stream | None, other: Stream) -> bool:
    return one is not None and one.x is other.x
