"""The examples of a buffer of tensors, found again in the store that a bundle is written from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cfsweep.errors import InputError
from cfsweep.modules.buffer import ReservoirBuffer
from cfsweep.training.ingredients import Buffer, Indices
from cfsweep.training.pack import Pack

AT_ONCE = 1024  # examples of the store that are looked at together


def found_again(pack: Pack, buffer: ReservoirBuffer, bundle: Path) -> Buffer:
    """The buffer as one of indices, for a `pack` that goes on from `bundle` and whose next task the buffer has been
    offered. Its examples are those that the network sees as the same numbers, and with the same label; of several that
    are, each is taken once.

    Raises:
        InputError: one is neither kept in the bundle nor a training example of the task.
    """
    context, task = pack.context, pack.stream.tasks[pack.next_task]
    places = np.concatenate([pack.stack.buffers[buffer.kind.name][0].indices, task.train])
    here = torch.from_numpy(places).to(context.device)
    buffer.require_classes(context.outputs.labels[here], pack.stream.y.to(context.device)[here])
    wanted: dict[tuple[bytes, int], list[int]] = {}
    for slot, (x, label) in enumerate(zip(buffer.x.cpu().float().numpy(), buffer.y.tolist(), strict=True)):
        wanted.setdefault((x.tobytes(), label), []).append(slot)
    indices = np.full(len(buffer), -1)
    for chunk in torch.split(here, AT_ONCE):
        seen, labels = context.store[chunk].cpu().numpy(), context.outputs.labels[chunk].tolist()
        for place, x, label in zip(chunk.tolist(), seen, labels, strict=True):
            if slots := wanted.get((x.tobytes(), label)):
                indices[slots.pop(0)] = place
    if n_strange := int((indices < 0).sum()):
        raise InputError(
            f"{buffer.where}: {n_strange} of its {len(buffer)} examples are neither kept in {bundle} nor among the "
            f"training examples of `{task.name}`, or are there fewer times. Offer it those of `open_bundle`, once."
        )
    return Buffer(indices, buffer.offered, offered_by_class=_by_class(pack, buffer))


def _by_class(pack: Pack, buffer: ReservoirBuffer) -> Indices | None:
    """How many of each class of the store were offered, where that is counted."""
    counted = buffer.offered_by_class
    if counted is None:
        return None
    n_classes = int(pack.context.target.classes(pack.stream).max()) + 1
    return np.pad(counted, (0, max(0, n_classes - len(counted))))
