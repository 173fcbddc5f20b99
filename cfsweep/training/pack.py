"""A pack: runs that are trained together, task by task. Nothing outside of it trains a model."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.training import batches
from cfsweep.training.engine.device_memory import peak_bytes
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.first_task_cache import FirstTask, FirstTaskCache, first_task_keys
from cfsweep.training.ingredients import refuse_without_steps
from cfsweep.training.loop import TaskLoop
from cfsweep.training.networks import build, single_reason
from cfsweep.training.pack_context import PackContext
from cfsweep.training.scoring import Scoring
from cfsweep.training.spec import Counts, PackReport, PackSpec, RunRecord
from cfsweep.training.stack import RowContent, Stack
from cfsweep.training.streams import Stream
from cfsweep.training.targets import target_of
from cfsweep.training.task_end import (
    accumulated_state,
    buffer_rows,
    consolidated_state,
    renewed_buffers,
    stored_bytes,
)
from cfsweep.training.within_task import SAVE_EVERY_S, Pauses, Progress, Save

CHECKPOINT_FORMAT = 3  # of what `checkpoint` writes; another one cannot be restored


class Pack:
    """Trains the runs of `spec` on `stream`, one task per `train_next_task()`. It is a `Trainer`.

    A run's scores do not depend on the other runs of the pack, nor on `share_first_task`, nor on `first_tasks` (up to
    the rounding of matrix products of another shape). The same pack with the same seeds gives the same bits, also when
    it is restored from a `checkpoint()` in between.

    Runs that agree in everything that takes effect in the first task are trained once, unless `share_first_task` is
    false; what other packs have left of it in `first_tasks` is taken from there, and what they may need is left there.

    Raises:
        InputError: an ingredient does not know the scenario or the target, or the network cannot be lifted and there
            are several runs.
    """

    save_every_s = SAVE_EVERY_S

    def __init__(
        self,
        spec: PackSpec,
        stream: Stream,
        device: str | torch.device = "cpu",
        share_first_task: bool = True,
        first_tasks: FirstTaskCache | None = None,
    ) -> None:
        self.spec, self.stream = spec, stream
        self.context = context = PackContext(spec, stream, torch.device(device))
        theta = context.initial_weights()
        self.first_tasks = first_tasks if share_first_task else None
        self.first_task_keys = first_task_keys(context, theta) if self.first_tasks is not None else []
        self.stack = Stack(
            spec.runs, context.hypers, theta, context.ingredients, context.lifted.liftable, share_first_task
        )
        self.scoring = Scoring(context, self.stack)
        self.records = [RunRecord(run.trial, run.seed) for run in spec.runs]
        self.next_task = 0
        self.within: Progress | None = None  # how far the next task is, if it has begun
        self.save_within: Callable[[TaskLoop], None] | None = None

    @property
    def done(self) -> bool:
        """Whether every run has ended."""
        return not self.stack.alive or self.next_task == len(self.stream.tasks)

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """Stops training the runs with these (trial, seed)."""
        gone = set(keys)
        self.stack.keep([i for i in self.stack.alive if self.spec.runs[i].key not in gone])

    def train_next_task(self, save: Save | None = None) -> PackReport:
        """Trains the next task and evaluates every run on every task; a run whose loss is not finite ends. Where there
        is one run alone, `save` gets a checkpoint now and then in the midst of the task.

        Raises:
            ValueError: the pack is done.
        """
        if self.done:
            raise ValueError("the pack is done")
        task = self.next_task
        self.save_within = None
        if save is not None and len(self.spec.runs) == 1:
            self.save_within = partial(self._save_within, save, self.checkpoint())
        self.stack.fork_rows("later" if task else "start")
        known = {} if task else self._known_first_tasks()
        keys = self.first_task_keys
        taken = {i: known[keys[i]] for i in self.stack.alive if known and keys[i] in known}
        if taken:
            self.stack.keep([i for i in self.stack.alive if i not in taken])
        here = self.stack.alive
        with self.context.lifted.draws(torch_seed(self.spec.runs[0].seed, "evaluation", task)):
            if here:
                self._train(task)
            if task == 0:
                self._leave_first_tasks(here)
            self._begin_with(taken)
            self._update_buffers(task)
        self.next_task, self.within = task + 1, None
        return self.report()

    def report(self) -> PackReport:
        """All that is known of the pack's runs."""
        context = self.context
        conventions = [i.conventions(context.settings) for i in context.ingredients]
        return PackReport(
            task=self.next_task - 1,
            done=self.done,
            records=tuple(deepcopy(self.records)),  # what has been reported stays
            n_examples=example_counts(self.stream),
            n_parameters=context.layout.size,
            peak_bytes=peak_bytes(context.device),
            host=socket.gethostname(),
            device=torch.cuda.get_device_name(context.device) if context.device.type == "cuda" else "cpu",
            fisher_convention="; ".join(c.fisher for c in conventions if c.fisher) or None,
            penalty_convention="; ".join(c.penalty for c in conventions if c.penalty) or None,
        )

    def checkpoint(self) -> bytes:
        """Everything that the next `train_next_task()` needs, for `Pack.restore`."""
        return self._saved(self.spec, self.records, self.stack.to_content())

    def _saved(self, spec: PackSpec, records: Iterable[RunRecord], stack: Mapping[str, Any]) -> bytes:
        content = {
            "format": CHECKPOINT_FORMAT,
            "spec": spec.to_dict(),
            "share_first_task": self.stack.share_first_task,
            "next_task": self.next_task,
            "records": [asdict(record) for record in records],
            "stack": stack,
            "statistics": self.context.statistics(),
        }
        file = io.BytesIO()
        torch.save(content, file)
        return file.getvalue()

    def models(self) -> dict[tuple[int, int], bytes]:
        """For each run that went all the way, if they are to be kept, the checkpoint of a pack of this run alone."""
        if not self.spec.keep_models or self.next_task < len(self.stream.tasks):
            return {}
        models = {}
        for i in self.stack.alive:
            alone = replace(self.spec, runs=self.spec.runs[i : i + 1])
            models[self.spec.runs[i].key] = self._saved(alone, [self.records[i]], self.stack.content_of(i))
        return models

    @staticmethod
    def restore(saved: bytes, stream: Stream, device: str | torch.device = "cpu") -> Pack | None:
        """The pack as it was when `checkpoint()` was called; None if a version wrote it that had another format."""
        content: dict[str, Any] = torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
        if content.get("format") != CHECKPOINT_FORMAT:
            return None
        if (within := content.get("within")) is not None:
            begun = Pack.restore(content["begun"].cpu().numpy().tobytes(), stream, device)
            if begun is not None:
                begun.within = within
            return begun
        pack = Pack(PackSpec.from_dict(content["spec"]), stream, device, content["share_first_task"])
        pack.next_task = content["next_task"]
        pack.records = [RunRecord(**record) for record in content["records"]]
        pack.stack.load_content(content["stack"])
        pack.context.load_statistics(content["statistics"])
        return pack

    def predictions(self, task: int, part: str = "test") -> Tensor:
        """(runs alive, n, ...): what each run predicts for the `part` examples of `task`."""
        return self.scoring.predictions(task, self.next_task, part)

    def scores(self, task: int, part: str = "test") -> Tensor:
        """(scores, runs alive) float64: how well each run answers the `part` examples of `task`, NaN without any."""
        return self.scoring.scores(task, self.next_task, part)

    # ------------------------------------------------------------------ a task

    def _train(self, task: int) -> None:
        """Trains the runs that are alive on `task`, unless their first weights know it, and evaluates those that are
        left."""
        if task == 0:
            self.scoring.note(self.records, learned=0)
        self.stack.clock = time.perf_counter()
        if task < self.stream.n_learned:
            refuse_without_steps(self.context.kinds, [run.values for run in self.spec.runs], "stream.learned")
        else:
            self._take_steps(task)
        self._consolidate(task)
        self._record_seconds()
        self.stack.clock = None
        self.scoring.note(self.records, learned=task + 1)

    def _take_steps(self, task: int) -> None:
        """Trains the runs that are alive on `task`; those whose loss is not finite end."""
        examples = batches.training_examples(self.stream, task, self.spec.joint)
        if task > 0:
            self._start_task(task)
        loop = TaskLoop(
            self.context,
            self.stack,
            task,
            examples,
            partial(self.scoring.note_curves, self.records, task),
            partial(self.scoring.within, task, "steering"),
        )
        if self.within is not None:
            self._record_seconds()  # of what was prepared again: the first time counts
            (record,) = self.records
            record.train_s, record.curves = self.within["train_s"], self.within["curves"]
        pauses = self.save_within and Pauses(partial(self.save_within, loop), self.save_every_s)
        loop.run(self.within, pauses)
        steps = loop.steps_taken
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            self.records[i].steps += steps[row]
        self._record_seconds()
        self._end_bad_runs(task, loop.first_bad)

    def _save_within(self, save: Save, begun: bytes, loop: TaskLoop) -> None:
        """Has the one run saved in the midst of the task that had `begun` so."""
        self._record_seconds()
        (record,) = self.records
        within = {**loop.progress(), "train_s": record.train_s, "curves": record.curves}
        file = io.BytesIO()
        at_begin = torch.frombuffer(bytearray(begun), dtype=torch.uint8)
        torch.save({"format": CHECKPOINT_FORMAT, "begun": at_begin, "within": within}, file)
        save(file.getvalue())
        self.stack.take_seconds()  # saving is no training

    def _start_task(self, task: int) -> None:
        for ingredient in self.context.timeline.task_starts:
            self.stack.theta, state = self.stack.over_rows(
                lambda t, s, v, i=ingredient: i.start_task(t, s, v, task),
                self.stack.theta,
                self.stack.states[ingredient.name],
                self.stack.values_of(ingredient),
            )
            self.stack.set_state(ingredient, state)

    def _end_bad_runs(self, task: int, first_bad: Sequence[int]) -> None:
        """Fails the runs whose loss was not finite (`first_bad`: at which step, by row, or -1)."""
        finite = torch.isfinite(self.stack.theta).all(1).tolist()
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            lr = self.spec.runs[i].values["lr"]
            if first_bad[row] >= 0:
                self.records[i].failure = f"the loss was not finite at task {task}, step {first_bad[row]} (lr={lr})"
            elif not finite[row]:
                self.records[i].failure = f"the weights were not finite after task {task} (lr={lr})"
        self.stack.keep([i for i in self.stack.alive if self.records[i].failure is None])

    def _consolidate(self, task: int) -> None:
        self.context.lifted.module.eval()
        if not self.stack.alive:
            return
        examples = self.stream.tasks[task].train
        with torch.no_grad():
            for ingredient in self.context.timeline.consolidations:
                state = consolidated_state(self.context, self.stack, ingredient, task, examples)
                self.stack.set_state(ingredient, state)
            for closed_form in self.context.timeline.closed_forms:
                state = accumulated_state(self.context, self.stack, closed_form, examples)
                self.stack.set_state(closed_form, state)

    def _update_buffers(self, task: int) -> None:
        """Renews what is kept of the examples so far. It may depend on values that take effect later."""
        if not self.stack.alive:
            return
        timeline = self.context.timeline
        if timeline.buffered:
            self.stack.fork_rows("later")
            self.stack.clock = time.perf_counter()
        for ingredient in timeline.buffered:
            self.stack.buffers[ingredient.name] = renewed_buffers(self.context, self.stack, ingredient, task)
        for name in (ingredient.name for ingredient in (*timeline.buffered, *timeline.buffered_online)):
            for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
                self.records[i].buffers += buffer_rows(self.context, name, self.stack.buffers[name][row], task)
        self._record_seconds()
        self.stack.clock = None
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            self.records[i].stored_bytes = stored_bytes(self.context, self.stack, self.spec.runs[i], row, task)

    # ------------------------------------------------------------------ the first task, shared between packs

    def _known_first_tasks(self) -> dict[str, FirstTask]:
        """By key, what other packs have left of the first task of runs that are alive."""
        if self.first_tasks is None:
            return {}
        found = self.first_tasks.get(dict.fromkeys(self.first_task_keys[i] for i in self.stack.alive))
        return {key: FirstTask.from_bytes(content, self.context.device) for key, content in found.items()}

    def _leave_first_tasks(self, here: Iterable[int]) -> None:
        """Leaves what the first task has come to, of the runs that were trained `here`, for other packs."""
        if self.first_tasks is None:
            return
        row_of = dict(zip(self.stack.alive, self.stack.row_of.tolist(), strict=True))
        trained = {self.first_task_keys[i]: i for i in here}
        contents = {}
        for key, i in trained.items():
            row = self.stack.row(row_of[i]) if i in row_of else None
            contents[key] = FirstTask.of(self.records[i], row, self.context.statistics()).to_bytes()
        if contents:
            self.first_tasks.put(contents)

    def _begin_with(self, taken: Mapping[int, FirstTask]) -> None:
        """Takes in the runs whose first task was trained elsewhere; runs that took the same one share a row."""
        rows: dict[str, tuple[RowContent, list[int]]] = {}
        for i, first_task in taken.items():
            self.records[i] = first_task.record_of(*self.spec.runs[i].key)
            self.context.load_statistics(first_task.statistics)
            if first_task.row is not None:
                rows.setdefault(self.first_task_keys[i], (first_task.row, []))[1].append(i)
        self.stack.join(list(rows.values()))

    def _record_seconds(self) -> None:
        for i, seconds in zip(self.stack.alive, self.stack.take_seconds(), strict=True):
            self.records[i].train_s += seconds


def example_counts(stream: Stream) -> Counts:
    """The numbers of validation and of test examples of each task."""
    return stream.told or {
        "validation": [len(task.validation) for task in stream.tasks],
        "test": [len(task.test) for task in stream.tasks],
    }


def pack_size(network: NetworkConfig, stream: Stream, scenario: Scenario, wanted: int) -> int:
    """`wanted`, or 1 if the network cannot be lifted over runs."""
    return 1 if single_run_reason(network, stream, scenario) else wanted


def single_run_reason(network: NetworkConfig, stream: Stream, scenario: Scenario) -> str | None:
    """Why runs of a network are trained one at a time, in one line; None if they need not be."""
    n_outputs = target_of(stream.target).outputs(stream, scenario).n_outputs
    module = build(network, stream.input_shape, n_outputs)
    return single_reason(network, lambda: build(network, stream.input_shape, n_outputs), module, stream.input_shape)
