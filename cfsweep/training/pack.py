"""A pack: runs that are trained together, task by task. Nothing outside of it trains a model."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.training import batches
from cfsweep.training.ingredients import Ingredient, Sample
from cfsweep.training.loop import TaskLoop
from cfsweep.training.memory import peak_bytes
from cfsweep.training.networks import build, unliftable_reason
from cfsweep.training.outputs import outputs_for
from cfsweep.training.parts import PackParts
from cfsweep.training.remembering import buffer_rows, renewed_memories
from cfsweep.training.spec import PackReport, PackSpec, RunRecord
from cfsweep.training.stack import Stack
from cfsweep.training.streams import Stream

SAMPLE_BYTES = 2**26  # of examples that `end_task` hooks see at once


class Pack(PackParts):
    """Trains the runs of `spec` on `stream`, one task per `step()`.

    A run's accuracy matrix does not depend on the other runs of the pack, nor on `share_prefix` (up to the rounding
    of matrix products of another shape). The same pack with the same seeds gives the same bits, also when it is
    restored from a `checkpoint()` in between.

    Raises:
        InputError: an ingredient does not know the scenario, or the network cannot be lifted and there are
            several runs.
    """

    def __init__(
        self, spec: PackSpec, stream: Stream, device: str | torch.device = "cpu", share_prefix: bool = True
    ) -> None:
        super().__init__(spec, stream, torch.device(device))
        self.stack = Stack(
            spec.runs, self.hypers, self.initial_weights(), self.ingredients, self.lifted.liftable, share_prefix
        )
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
        if task == 0:
            self._record_accuracies(learned=0)
        taking_part = list(self.stack.alive)
        started = time.perf_counter()
        examples = batches.training_examples(self.stream, task, self.spec.joint)
        if task > 0:
            self._start_task(task)
        loop = TaskLoop(
            self, self.stack, task, examples, partial(self._record_curves, task), partial(self._accuracies_seen, task)
        )
        loop.run()
        steps = dict(zip(self.stack.alive, (loop.steps_taken[row] for row in self.stack.row_of), strict=True))
        self._end_bad_runs(task, loop.first_bad)
        self._end_task(task)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        share = (time.perf_counter() - started) / len(taking_part)
        for i in taking_part:
            self.records[i].train_s += share
            self.records[i].steps += steps[i]
        self.next_task += 1
        self._record_accuracies(learned=self.next_task)
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
            "buffers": {} if self.lifted.liftable else dict(self.lifted.module.named_buffers()),
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
        for name, buffer in content["buffers"].items():
            pack.lifted.module.get_buffer(name).copy_(buffer)
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

    def _start_task(self, task: int) -> None:
        for ingredient in self.ingredients:
            if ingredient.has("start_task"):
                self.stack.theta, self.stack.states[ingredient.name] = self.stack.over_rows(
                    lambda t, s, v, i=ingredient: i.start_task(t, s, v, task),
                    self.stack.theta,
                    self.stack.states[ingredient.name],
                    self.stack.values,
                )

    # ------------------------------------------------------------------ after a task

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
                    self._end_task_of(ingredient, task, examples)
        remembering = [ingredient for ingredient in self.ingredients if ingredient.has("remember")]
        if remembering:
            self.stack.spread("later")  # what is remembered depends on values that act later
        for ingredient in remembering:
            memories = renewed_memories(self, self.stack, ingredient, task, examples)
            self.stack.memories[ingredient.name] = memories
            for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
                self.records[i].buffers += buffer_rows(self, ingredient, memories[row], task)
        self._record_stored_bytes()

    def _end_task_of(self, ingredient: Ingredient, task: int, examples: NDArray[np.int64]) -> None:
        stack, size = self.stack, ingredient.sample_size(len(examples))
        row_bytes = 4 * max(1, size * int(np.prod(self.stream.input_shape)))
        at_once = max(1, SAMPLE_BYTES // row_bytes) if self.lifted.stack is not None else 1
        old, pieces = stack.states[ingredient.name], []
        for at in range(0, len(stack), at_once):
            rows = slice(at, at + at_once)
            chosen, uniform, noise = batches.sample(
                stack.representatives[rows], examples, task, size, ingredient.noise_size()
            )
            indices = torch.from_numpy(chosen).to(self.device)
            pieces.append(
                stack.over_rows(
                    lambda t, s, v, *parts, i=ingredient: i.end_task(t, s, v, task, Sample(*parts)),
                    stack.theta[rows],
                    {k: v[rows] for k, v in old.items()},
                    {k: v[rows] for k, v in stack.values.items()},
                    self.store[indices],
                    self.outputs.labels[indices],
                    self.outputs.masks[task][self.outputs.task_of[indices]],
                    torch.from_numpy(uniform).to(self.device),
                    torch.from_numpy(noise).to(self.device),
                )
            )
        stack.states[ingredient.name] = {k: torch.cat([piece[k] for piece in pieces]) for k in old}

    def _record_stored_bytes(self) -> None:
        moments = sum(value[0].numel() * value.element_size() for value in self.stack.optimizer.values())
        for i, row in zip(self.stack.alive, self.stack.row_of, strict=True):
            self.records[i].stored_bytes = moments + sum(
                ingredient.stored_bytes(
                    self.spec.runs[i].numbers, self.stack.memories[ingredient.name][row], self.store.example_bytes
                )
                for ingredient in self.ingredients
            )
            if self.spec.joint:  # it needs the data of all tasks so far again
                examples = batches.training_examples(self.stream, self.next_task, joint=True)
                self.records[i].stored_bytes = moments + len(examples) * self.store.example_bytes

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
