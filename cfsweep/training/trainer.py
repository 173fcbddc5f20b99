"""What the sweep asks of whatever trains runs, and which kind of it serves a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch

from cfsweep.training.first_task_cache import FirstTaskCache
from cfsweep.training.outside import OutsideTrainer
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport, PackSpec
from cfsweep.training.streams import Stream
from cfsweep.training.within_task import Save


class Trainer(Protocol):
    """Trains the runs of one `PackSpec`, one task at a time: a `Pack`, or a trainer from outside."""

    @property
    def done(self) -> bool:
        """Whether every run has ended."""

    def train_next_task(self, save: Save | None = None) -> PackReport:
        """Trains the next task, and says all that is known of the runs. In the midst of it `save` may get what goes on
        from there, as a `checkpoint`."""

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """Stops training the runs with these (trial, seed)."""

    def report(self) -> PackReport:
        """All that is known of the runs."""

    def checkpoint(self) -> bytes:
        """Everything that the next `train_next_task()` needs."""

    def models(self) -> Mapping[tuple[int, int], bytes]:
        """What the runs that went all the way have come to, by (trial, seed), if the pack keeps models."""


def open_trainer(
    spec: PackSpec,
    stream: Stream,
    device: torch.device,
    share_first_task: bool = True,
    first_tasks: FirstTaskCache | None = None,
    checkpoint: bytes | None = None,
) -> Trainer:
    """The trainer for `spec` on its split of `stream`, as it was when `checkpoint` was taken; from the start without
    one, or with one of a version that wrote another format.

    Raises:
        InputError: an ingredient or the network does not fit, or there is no such trainer from outside.
    """
    if spec.trainer is not None:
        outside = OutsideTrainer.restore(checkpoint, stream, device) if checkpoint is not None else None
        return outside or OutsideTrainer(spec, stream, device)
    stream = stream.of_split(spec.split)
    restored = Pack.restore(checkpoint, stream, device) if checkpoint is not None else None
    return restored or Pack(spec, stream, device, share_first_task, first_tasks)
