"""Where the time of training goes: by kind of operation within a step, and what stands beside the steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.autograd.profiler import profile

from cfsweep.training.ingredients.ewc import EWC
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from cfsweep.training.scoring import Scoring
from cfsweep.training.streams import Stream

PRODUCTS = {"aten::bmm", "aten::baddbmm", "aten::mm", "aten::addmm"}
OPTIMIZER = {"aten::_fused_adam_"}
INDEXING = {"aten::index_select", "aten::index", "aten::gather", "aten::scatter_add_"}


@dataclass(frozen=True)
class Anatomy:
    """Milliseconds per step of one run: `python` is what no operation of torch accounts for."""

    products: float
    optimizer: float
    indexing: float
    other: float
    python: float


@dataclass(frozen=True)
class Beside:
    """Seconds of one pack: in its steps, in evaluation, and in all."""

    steps_s: float
    evaluation_s: float
    total_s: float


def anatomy(pack: Pack) -> Anatomy:
    """Of the steps of the second task of a pack that has not begun, evaluation and what comes after the task aside.

    The profiler counts a part of its own cost to each operation.
    """
    pack.train_next_task()
    original, seen = TaskLoop.run, []

    def watched(loop: TaskLoop, *given: Any) -> None:
        with profile(use_kineto=False) as profiler:
            started = time.perf_counter()
            original(loop, *given)
            elapsed = time.perf_counter() - started
        per_step = 1e3 / loop.n_steps / len(loop.stack)
        spent = dict.fromkeys(("products", "optimizer", "indexing", "other"), 0.0)
        for event in profiler.key_averages():
            if event.key.startswith("aten::") or "Backward" in event.key:
                spent[_kind(event.key)] += event.self_cpu_time_total / 1e6
        seen.append(
            Anatomy(
                **{kind: s * per_step for kind, s in spent.items()},
                python=(elapsed - sum(spent.values())) * per_step,
            )
        )

    TaskLoop.run = watched  # type: ignore[method-assign]
    try:
        pack.train_next_task()
    finally:
        TaskLoop.run = original  # type: ignore[method-assign]
    return seen[0]


def beside(pack: Pack) -> Beside:
    """Trains the pack to its end."""
    spent = {"run": 0.0, "note": 0.0}

    def timed(owner: type, name: str) -> Callable[..., object]:
        original: Callable[..., object] = getattr(owner, name)

        def wrapper(*args: object, **kwargs: object) -> object:
            started = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        setattr(owner, name, wrapper)
        return original

    kept = [(owner, name, timed(owner, name)) for owner, name in ((TaskLoop, "run"), (Scoring, "note"))]
    started = time.perf_counter()
    try:
        while not pack.done:
            pack.train_next_task()
    finally:
        for owner, name, original in kept:
            setattr(owner, name, original)
    return Beside(spent["run"], spent["note"], time.perf_counter() - started)


def evaluation_products_frac(stream: Stream, hidden: tuple[int, ...], epochs: int) -> float:
    """The multiplications of all evaluations of a run by those of its training: what no evaluation can go below.

    Every task is evaluated before the first task and after each, on validation examples; a step multiplies forward, by
    the weights' gradients, and for those of all inputs but the images.
    """
    sizes = [stream.x[0].numel(), *hidden, stream.n_classes]
    layers = [i * o for i, o in pairwise(sizes)]
    evaluated = sum(len(task.validation) for task in stream.tasks) * (len(stream.tasks) + 1)
    trained = sum(len(task.train) for task in stream.tasks) * epochs
    return evaluated * sum(layers) / (trained * (3 * sum(layers) - layers[0]))


def fisher_s(pack: Pack, repeats: int) -> float:
    """Median seconds of the Fisher diagonal of one run on as many examples as its `ewc` takes."""
    (ewc,) = (ingredient for ingredient in pack.context.ingredients if isinstance(ingredient, EWC))
    examples = torch.from_numpy(pack.stream.tasks[0].train)
    chosen = examples[: ewc.n_examples(len(examples))]
    outputs = pack.context.outputs
    x, labels, mask = pack.context.store[chosen], outputs.labels[chosen], outputs.masks[0][outputs.task_of[chosen]]
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        pack.stack.over_rows(
            lambda theta: ewc.context.squared_gradients(theta, x, labels, mask),
            pack.stack.theta[:1],
        )
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _kind(key: str) -> str:
    kinds = (("products", PRODUCTS), ("optimizer", OPTIMIZER), ("indexing", INDEXING))
    return next((kind for kind, names in kinds if key in names), "other")
