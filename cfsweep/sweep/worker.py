"""What trains a pack, a task at a time, wherever it is: in a process of Ray's, or in the one that drives the sweep."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

import torch

from cfsweep.sweep.broker import BrokerClient
from cfsweep.training.engine.device_memory import is_out_of_memory, release
from cfsweep.training.first_task_cache import FirstTaskCache
from cfsweep.training.spec import PackReport, PackSpec
from cfsweep.training.streams import Stream
from cfsweep.training.trainer import Trainer, open_trainer


@dataclass(frozen=True)
class TaskResult:
    """What came of a task: the report of the pack, or (`error`) why there is none. `done`: the pack is over."""

    pack_id: str
    done: bool
    report: PackReport | None = None
    error: str = ""
    out_of_memory: bool = False
    trace: str = ""


class PackWorker:
    """Trains the pack `pack_id`, which lies at the broker, on `stream`; leaves a checkpoint there after each task."""

    trainer: Trainer | None = None

    def __init__(
        self,
        pack_id: str,
        broker: BrokerClient,
        stream: Stream,
        device: torch.device,
        share_first_task: bool = True,
        first_tasks: FirstTaskCache | None = None,
    ) -> None:
        self.pack_id, self.broker, self.stream, self.device = pack_id, broker, stream, device
        self.share_first_task, self.first_tasks = share_first_task, first_tasks

    def advance(self) -> TaskResult:
        """Trains the next task. Whatever an ingredient or a network raises is in the result: it ends the pack alone."""
        try:
            trainer = self.trainer = self.trainer or self.open_trainer()
            trainer.drop(self.broker.dropped_from(self.pack_id))
            report = trainer.report() if trainer.done else trainer.train_next_task()
            if not report.done:
                self.broker.save(self.pack_id, trainer.checkpoint())
            return TaskResult(self.pack_id, report.done, report)
        except Exception as error:
            # The driver decides what becomes of the pack; raised here, the error would reach nobody.
            self.trainer = None
            return TaskResult(
                self.pack_id,
                done=True,
                error=f"{type(error).__name__}: {error}",
                out_of_memory=is_out_of_memory(error),
                trace=traceback.format_exc(),
            )

    def open_trainer(self) -> Trainer:
        """The pack's trainer, as it was when the last checkpoint was left."""
        spec, checkpoint = self.broker.fetch(self.pack_id)
        release(self.device)  # of the pack before, which may have filled it
        return open_trainer(
            PackSpec.from_dict(spec), self.stream, self.device, self.share_first_task, self.first_tasks, checkpoint
        )
