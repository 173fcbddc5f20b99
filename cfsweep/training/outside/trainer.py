"""A run that a function of the user's trains. It is a `Trainer`."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch

from cfsweep.errors import InputError
from cfsweep.training.outside.answer import answer_of
from cfsweep.training.outside.function import called, function_at
from cfsweep.training.outside.saved import Saved, handed, saved
from cfsweep.training.spec import PackReport, PackSpec, RunRecord
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of
from cfsweep.training.within_task import Save

CHECKPOINT_FORMAT = 1  # of what `checkpoint` writes; another one cannot be restored
HEADER_BYTES = 8  # of the length of a checkpoint's head


class OutsideTrainer:
    """Trains the one run of `spec` by its `trainer`, one task per `train_next_task()`; `stream` has the tasks' names
    and the score alone. It is a `Trainer`.

    What the function returns against the rules ends the run; what it raises is raised.

    Raises:
        InputError: there is no such function.
    """

    def __init__(self, spec: PackSpec, stream: Stream, device: torch.device | str = "cpu") -> None:
        assert spec.trainer is not None
        (run,) = spec.runs
        self.spec, self.run, self.stream, self.device = spec, run, stream, torch.device(device)
        (self.score,) = scores_of(stream)
        self.where, self.function = f"trainer `{spec.trainer}`", function_at(spec.trainer)
        self.record, self.next_task, self.dropped = RunRecord(run.trial, run.seed), 0, False
        self.state = Saved()
        self.n_examples = {part: list(counts) for part, counts in stream.told.items()}

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.dropped or self.record.failure is not None or self.next_task == len(self.stream.tasks)

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """Stops training the run, if it is among those with these (trial, seed)."""
        self.dropped = self.dropped or self.run.key in set(keys)

    def train_next_task(self, save: Save | None = None) -> PackReport:
        """Has the function train the next task; a run of which it returns something else than scores and a state ends.
        In the midst of it there is nothing to `save`.

        Raises:
            ValueError: the run is done.
            Exception: whatever the function raises.
        """
        if self.done:
            raise ValueError("the run is done")
        task = self.next_task
        with handed(self.state) as state:
            began = time.perf_counter()
            returned = called(self.function, self.run.values, self.run.seed, task, state)
            self.record.train_s += time.perf_counter() - began
            try:
                self.take_in(returned, task)
            except InputError as error:
                self.record.failure = str(error)
        return self.report()

    def take_in(self, returned: object, task: int) -> None:
        """Takes in what the function has returned for the next task, which is this one.

        Raises:
            InputError: it is against the rules.
        """
        where, n_tasks = f"{self.where}, task {task}", len(self.stream.tasks)
        answer = answer_of(returned, where, n_tasks, task == n_tasks - 1, self.score)
        if missing := [part for part in self.spec.parts if part not in answer.scores]:
            raise InputError(f"{where}: the scores have no `{missing[0]}`, which is needed to confirm. Return it, too.")
        self.state = saved(answer.state)
        for part in self.spec.parts:
            rows = getattr(self.record, part)
            if not rows:  # the first row is of the untrained network, which nobody has evaluated
                rows.append([math.nan] * n_tasks)
            rows.append(answer.scores[part])
        for part, counts in answer.n_examples.items():
            self.n_examples[part] = list(counts)
        self.next_task += 1

    def report(self) -> PackReport:
        """All that is known of the run."""
        return PackReport(
            task=self.next_task - 1,
            done=self.done,
            records=(deepcopy(self.record),),  # what has been reported stays
            n_examples=dict(self.n_examples),
            host=socket.gethostname(),
            device=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
        )

    def checkpoint(self) -> bytes:
        """Everything that the next `train_next_task()` needs, for `OutsideTrainer.restore`."""
        head = {
            "format": CHECKPOINT_FORMAT,
            "spec": self.spec.to_dict(),
            "next_task": self.next_task,
            "record": asdict(self.record),
            "state": self.state.kind,
        }
        text = json.dumps(head).encode()
        return len(text).to_bytes(HEADER_BYTES) + text + self.state.content

    def models(self) -> dict[tuple[int, int], bytes]:
        """The checkpoint of the run, if it went all the way and is to be kept."""
        went_all_the_way = self.next_task == len(self.stream.tasks)
        return {self.run.key: self.checkpoint()} if self.spec.keep_models and went_all_the_way else {}

    @staticmethod
    def restore(content: bytes, stream: Stream, device: torch.device | str = "cpu") -> OutsideTrainer | None:
        """The trainer as it was when `checkpoint()` was called; None if a version wrote it that had another format."""
        head, state = read_checkpoint(content)
        if head["format"] != CHECKPOINT_FORMAT:
            return None
        trainer = OutsideTrainer(PackSpec.from_dict(head["spec"]), stream, device)
        trainer.next_task, trainer.record = head["next_task"], RunRecord(**head["record"])
        trainer.state = state
        return trainer


def read_checkpoint(content: bytes) -> tuple[dict[str, Any], Saved]:
    """What a checkpoint says of its run (`format`, `spec`, `next_task`, `record`), and the state."""
    at = HEADER_BYTES + int.from_bytes(content[:HEADER_BYTES])
    head = json.loads(content[HEADER_BYTES:at])
    return head, Saved(head["state"], content[at:])
