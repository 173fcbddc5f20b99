"""What trains a pack, a task at a time, wherever it is: in a process of Ray's, or in the one that drives the sweep."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from cfsweep.errors import raised_in
from cfsweep.sweeping.broker import BrokerClient, BrokerError, Fetched, Key, no_fault_of_the_pack
from cfsweep.training.engine.device_memory import is_out_of_memory, release
from cfsweep.training.first_task_cache import FirstTaskCache
from cfsweep.training.spec import PackReport, PackSpec
from cfsweep.training.streams import Stream
from cfsweep.training.trainer import Trainer, open_trainer

KEEP_AGAIN_S = 1.0


@dataclass(frozen=True)
class TaskResult:
    """What came of a task: the report of the pack, or (`error`) why there is none. `done`: the pack is over.
    `began_anew`: its checkpoint could not be read. `altered` are files of code that are no longer what the study began
    with, so that nothing was trained."""

    pack_id: str
    done: bool
    report: PackReport | None = None
    error: str = ""
    out_of_memory: bool = False
    trace: str = ""
    began_anew: bool = False
    altered: tuple[str, ...] = ()

    @staticmethod
    def of_error(pack_id: str, error: BaseException) -> TaskResult:
        """That the pack came to an end with this error, which is being handled."""
        return TaskResult(
            pack_id,
            done=True,
            error=f"{type(error).__name__}: {error} ({raised_in(error)})",
            out_of_memory=is_out_of_memory(error),
            trace=traceback.format_exc(),
        )


class PackWorker:
    """Trains the pack `pack_id`, which lies at the broker, on `stream`; leaves a checkpoint there after each task, and
    now and then in the midst of one, where the trainer has any."""

    trainer: Trainer | None = None
    began_anew = False  # since the last result

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
        self.share_first_task = share_first_task
        self.first_tasks = None if first_tasks is None else _AtBroker(first_tasks)

    def advance(self) -> TaskResult:
        """Trains the next task. Whatever an ingredient or a network raises is in the result: it ends the pack alone.

        Raises:
            BrokerError: the broker has raised something, which is no fault of the pack.
        """
        with no_fault_of_the_pack():
            dropped = self.broker.dropped_from(self.pack_id)
            if dropped is None:
                self.trainer = None
                return TaskResult(self.pack_id, done=True, error="the driver has closed the pack")
            fetched = self.broker.fetch(self.pack_id) if self.trainer is None else None
        try:
            if fetched is not None:
                self.trainer = self._opened(fetched)
            report, checkpoint, models = self._next_task(dropped)
        except BrokerError:
            raise
        except (Exception, SystemExit) as error:  # what is the user's own may call `sys.exit`
            # The driver decides what becomes of the pack; raised here, the error would reach nobody.
            self.trainer = None
            return TaskResult.of_error(self.pack_id, error)
        if checkpoint is not None:
            self._save(checkpoint)
        if models:
            with no_fault_of_the_pack():
                while not self.broker.keep(self.pack_id, models):
                    time.sleep(KEEP_AGAIN_S)  # the driver says what there is no room for, and for how long it waits
                    self.broker.dropped_from(self.pack_id)  # so that it is not taken for one that hangs
        began_anew, self.began_anew = self.began_anew, False
        return TaskResult(self.pack_id, report.done, report, began_anew=began_anew)

    def _opened(self, fetched: Fetched) -> Trainer:
        """The pack's trainer, as it was when the last checkpoint was left; from the beginning, where that cannot be
        read. What is wrong with the pack itself shows then, too."""
        self.began_anew = fetched.damaged
        try:
            return self.open_trainer(fetched)
        except Exception as error:  # whatever torch raises over bytes that it does not know
            if fetched.checkpoint is None or isinstance(error, BrokerError) or is_out_of_memory(error):
                raise
        with no_fault_of_the_pack():
            self.broker.set_aside(self.pack_id)
        self.began_anew = True
        return self.open_trainer(Fetched(fetched.spec, None))

    def open_trainer(self, fetched: Fetched) -> Trainer:
        """The trainer of what was fetched."""
        release(self.device)  # of the pack before, which may have filled it
        return open_trainer(
            PackSpec.from_dict(fetched.spec),
            self.stream,
            self.device,
            self.share_first_task,
            self.first_tasks,
            fetched.checkpoint,
        )

    def _next_task(self, dropped: set[Key]) -> tuple[PackReport, bytes | None, Mapping[Key, bytes]]:
        """The report after the next task; the checkpoint, if there is more to train, or else the models that are to be
        kept."""
        assert self.trainer is not None
        self.trainer.drop(dropped)
        report = self.trainer.report() if self.trainer.done else self.trainer.train_next_task(self._save)
        return (report, None, self.trainer.models()) if report.done else (report, self.trainer.checkpoint(), {})

    def _save(self, checkpoint: bytes) -> None:
        with no_fault_of_the_pack():
            self.broker.save(self.pack_id, checkpoint)


class _AtBroker:
    """First tasks that lie at the broker."""

    def __init__(self, kept: FirstTaskCache) -> None:
        self.kept = kept

    def get(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        with no_fault_of_the_pack():
            return self.kept.get(keys)

    def put(self, contents: Mapping[str, bytes]) -> None:
        with no_fault_of_the_pack():
            self.kept.put(contents)
