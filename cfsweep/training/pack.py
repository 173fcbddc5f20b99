"""A pack: runs that are trained together, task by task. Nothing outside of it trains a model."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.training import batches
from cfsweep.training.ending import ended_state, stored_bytes
from cfsweep.training.loop import TaskLoop
from cfsweep.training.memory import peak_bytes
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.outputs import outputs_for
from cfsweep.training.parts import PackParts
from cfsweep.training.prefixes import Prefix, Prefixes, prefix_keys
from cfsweep.training.remembering import buffer_rows, renewed_memories
from cfsweep.training.spec import PackReport, PackSpec, RunRecord
from cfsweep.training.stack import RowContent, Stack
from cfsweep.training.streams import Stream


class Pack(PackParts):
    """Trains the runs of `spec` on `stream`, one task per `step()`.

    A run's accuracy matrix does not depend on the other runs of the pack, nor on `share_prefix`, nor on `prefixes` (up
    to the rounding of matrix products of another shape). The same pack with the same seeds gives the same bits, also
    when it is restored from a `checkpoint()` in between.

    Runs that agree in everything that acts in the first task are trained once, unless `share_prefix` is false; what
    other packs have left of it in `prefixes` is taken from there, and what they may need is left there.

    Raises:
        InputError: an ingredient does not know the scenario, or the network cannot be lifted and there are
            several runs.
    """

    def __init__(
        self,
        spec: PackSpec,
        stream: Stream,
        device: str | torch.device = "cpu",
        share_prefix: bool = True,
        prefixes: Prefixes | None = None,
    ) -> None:
        super().__init__(spec, stream, torch.device(device))
        theta = self.initial_weights()
        self.prefixes = prefixes if share_prefix else None
        self.prefix_keys = prefix_keys(self, theta) if self.prefixes is not None else []
        self.stack = Stack(spec.runs, self.hypers, theta, self.ingredients, self.lifted.liftable, share_prefix)
        self.records = [RunRecord(run.trial, run.seed) for run in spec.runs]
        self.next_task = 0

    @property
    def done(self) -> bool:
        return not self.stack.alive or self.next_task == len(self.stream.tasks)

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """Stops training the runs with these (trial, seed)."""
        gone = set(keys)
        self.stack.keep([i for i in self.stack.alive if self.spec.runs[i].key not in gone])

    def step(self) -> PackReport:
        """Trains the next task and evaluates every run on every task; a run whose loss is not finite ends.

        Raises:
            ValueError: the pack is done.
        """
        if self.done:
            raise ValueError("the pack is done")
        task = self.next_task
        self.stack.spread("later" if task else "start")
        known = {} if task else self._known_prefixes()
        taken = {i: known[self.prefix_keys[i]] for i in self.stack.alive if known and self.prefix_keys[i] in known}
        if taken:
            self.stack.keep([i for i in self.stack.alive if i not in taken])
        if self.stack.alive:
            self._train(task)
        if task == 0:
            self._leave_prefixes()
        self._begin_with(taken)
        self._remember(task)
        self.next_task += 1
        return self.report()

    def report(self) -> PackReport:
        """All that is known of the pack's runs."""

        def convention(name: str) -> str | None:
            return "; ".join(filter(None, (getattr(i, name) for i in self.ingredients))) or None

        return PackReport(
            task=self.next_task - 1,
            done=self.done,
            records=tuple(deepcopy(self.records)),  # what has been reported stays
            counts=example_counts(self.stream),
            n_parameters=self.layout.size,
            peak_bytes=peak_bytes(self.device),
            host=socket.gethostname(),
            device=str(self.device),
            fisher_convention=convention("fisher_convention"),
            penalty_convention=convention("penalty_convention"),
        )

    def checkpoint(self) -> bytes:
        """Everything that the next `step()` needs, for `Pack.restore`."""
        content = {
            "spec": self.spec.to_dict(),
            "share_prefix": self.stack.share_prefix,
            "next_task": self.next_task,
            "records": [asdict(record) for record in self.records],
            "stack": self.stack.to_content(),
            "buffers": self._buffers(),
        }
        file = io.BytesIO()
        torch.save(content, file)
        return file.getvalue()

    @staticmethod
    def restore(saved: bytes, stream: Stream, device: str | torch.device = "cpu") -> Pack:
        """The pack as it was when `checkpoint()` was called."""
        content: dict[str, Any] = torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
        pack = Pack(PackSpec.from_dict(content["spec"]), stream, device, content["share_prefix"])
        pack.next_task = content["next_task"]
        pack.records = [RunRecord(**record) for record in content["records"]]
        pack.stack.load_content(content["stack"])
        pack._load_buffers(content["buffers"])
        return pack

    def predictions(self, task: int, part: str = "test") -> Tensor:
        """(runs alive, n) int64: the outputs that each run chooses for the `part` examples of `task`."""
        self.lifted.module.eval()
        weights = self.weights_for(task, self.next_task)
        chosen = self.evaluator.predictions(weights, task, self.next_task, part)
        return chosen[torch.from_numpy(self.stack.row_of).to(self.device)]

    def weights_for(self, task: int, learned: int) -> Tensor:
        """The weights (rows, P) that answer for `task` after `learned` tasks have ended."""
        theta = self.stack.theta
        for ingredient in self.ingredients if task < learned else ():
            if ingredient.has("weights_for"):
                theta = self.stack.over_rows(
                    lambda t, s, v, i=ingredient: i.weights_for(t, s, v, task),
                    theta,
                    self.stack.states[ingredient.name],
                    self.stack.values,
                )
        return theta

    def _accuracies_seen(self, task: int, learned: int) -> Tensor:
        """(rows, T): in the midst of `task`, the validation accuracy on each task so far; 0 for later ones. `learned`
        as for the evaluator."""
        self.lifted.module.eval()
        accuracies = torch.zeros(len(self.stack), len(self.stream.tasks), dtype=torch.float64, device=self.device)
        for seen in range(task + 1):
            right = self.evaluator.right(self.weights_for(seen, task), seen, learned, "validation")
            accuracies[:, seen] = right.double() / len(self.stream.tasks[seen].validation)
        self.lifted.module.train()
        return accuracies

    def _record_curves(self, task: int, step: int, moving: Tensor) -> None:
        """Notes the validation accuracy on each task seen, in the midst of `task`, of the rows that are `moving`."""
        accuracies, still = self._accuracies_seen(task, task + 1).tolist(), moving.tolist()
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            if still[row]:
                self.records[i].curves += [(task, step, seen, accuracies[row][seen]) for seen in range(task + 1)]

    # ------------------------------------------------------------------ a task

    def _train(self, task: int) -> None:
        """Trains the runs that are alive on `task`, and evaluates those that are left."""
        if task == 0:
            self._record_accuracies(learned=0)
        self.stack.clock = time.perf_counter()
        examples = batches.training_examples(self.stream, task, self.spec.joint)
        if task > 0:
            self._start_task(task)
        loop = TaskLoop(
            self, self.stack, task, examples, partial(self._record_curves, task), partial(self._accuracies_seen, task)
        )
        loop.run()
        steps = loop.steps_taken
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            self.records[i].steps += steps[row]
        self._record_seconds()
        self._end_bad_runs(task, loop.first_bad)
        self._end_task(task)
        self._record_seconds()
        self.stack.clock = None
        self._record_accuracies(learned=task + 1)

    def _start_task(self, task: int) -> None:
        for ingredient in self.ingredients:
            if ingredient.has("start_task"):
                self.stack.theta, self.stack.states[ingredient.name] = self.stack.over_rows(
                    lambda t, s, v, i=ingredient: i.start_task(t, s, v, task),
                    self.stack.theta,
                    self.stack.states[ingredient.name],
                    self.stack.values,
                )

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

    def _end_task(self, task: int) -> None:
        self.lifted.module.eval()
        if not self.stack.alive:
            return
        examples = self.stream.tasks[task].train
        with torch.no_grad():
            for ingredient in self.ingredients:
                if ingredient.has("end_task"):
                    self.stack.states[ingredient.name] = ended_state(self, self.stack, ingredient, task, examples)

    def _remember(self, task: int) -> None:
        """Renews what is remembered of the tasks so far. It may depend on values that act later."""
        if not self.stack.alive:
            return
        remembering = [ingredient for ingredient in self.ingredients if ingredient.has("remember")]
        if remembering:
            self.stack.spread("later")
            self.stack.clock = time.perf_counter()
        for ingredient in remembering:
            memories = renewed_memories(self, self.stack, ingredient, task, self.stream.tasks[task].train)
            self.stack.memories[ingredient.name] = memories
            for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
                self.records[i].buffers += buffer_rows(self, ingredient, memories[row], task)
        self._record_seconds()
        self.stack.clock = None
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            self.records[i].stored_bytes = stored_bytes(self, self.stack, self.spec.runs[i], row, task)

    # ------------------------------------------------------------------ the first task, shared between packs

    def _known_prefixes(self) -> dict[str, Prefix]:
        """By key, what other packs have left of the first task of runs that are alive."""
        if self.prefixes is None:
            return {}
        found = self.prefixes.get(dict.fromkeys(self.prefix_keys[i] for i in self.stack.alive))
        return {key: Prefix.from_bytes(content, self.device) for key, content in found.items()}

    def _leave_prefixes(self) -> None:
        """Leaves what the first task has come to for other packs."""
        if self.prefixes is None:
            return
        row_of = dict(zip(self.stack.alive, self.stack.row_of.tolist(), strict=True))
        trained = {self.prefix_keys[i]: i for i, record in enumerate(self.records) if record.validation}
        contents = {}
        for key, i in trained.items():
            row = self.stack.row(row_of[i]) if i in row_of else None
            contents[key] = Prefix(Prefix.content_of(self.records[i]), row, self._buffers()).to_bytes()
        if contents:
            self.prefixes.put(contents)

    def _begin_with(self, taken: Mapping[int, Prefix]) -> None:
        """Takes in the runs whose first task was trained elsewhere; runs that took the same one share a row."""
        rows: dict[str, tuple[RowContent, list[int]]] = {}
        for i, prefix in taken.items():
            self.records[i] = prefix.record_of(*self.spec.runs[i].key)
            self._load_buffers(prefix.buffers)
            if prefix.row is not None:
                rows.setdefault(self.prefix_keys[i], (prefix.row, []))[1].append(i)
        self.stack.join(list(rows.values()))

    # ------------------------------------------------------------------ what is kept of it all

    def _buffers(self) -> dict[str, Tensor]:
        """Those of a network that cannot be lifted: they live in the module, which serves one run."""
        return {} if self.lifted.liftable else dict(self.lifted.module.named_buffers())

    def _load_buffers(self, buffers: Mapping[str, Tensor]) -> None:
        for name, buffer in buffers.items():
            self.lifted.module.get_buffer(name).copy_(buffer)

    def _record_seconds(self) -> None:
        for i, seconds in zip(self.stack.alive, self.stack.take_seconds(), strict=True):
            self.records[i].train_s += seconds

    def _record_accuracies(self, learned: int) -> None:
        if not self.stack.alive:
            return
        self.lifted.module.eval()
        weights = [self.weights_for(i, learned) for i in range(len(self.stream.tasks))]
        for part in ("validation", "test"):
            right = [self.evaluator.right(theta, i, learned, part) for i, theta in enumerate(weights)]
            counts = torch.stack(right, -1).tolist()  # (rows, T)
            for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
                getattr(self.records[i], part).append(counts[row])


def example_counts(stream: Stream) -> dict[str, list[int]]:
    """The numbers of validation and of test examples of each task."""
    return {
        "validation": [len(task.validation) for task in stream.tasks],
        "test": [len(task.test) for task in stream.tasks],
    }


def pack_size(network: NetworkConfig, stream: Stream, scenario: Scenario, wanted: int) -> int:
    """`wanted`, or 1 if the network cannot be lifted over runs."""
    module = build(network, stream.input_shape, outputs_for(stream, scenario).n_outputs)
    return 1 if unliftable_reason(module, stream.input_shape) else wanted
