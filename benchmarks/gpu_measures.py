"""What `benchmarks.gpu` measures: the same training as packs, one run after another, and in processes that share."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import numpy as np
import torch

from benchmarks.counting import Counts, count
from benchmarks.plain import Outcome, PlainRun, Settings
from cfsweep.config import NetworkConfig
from cfsweep.hypers import Value
from cfsweep.metrics import average_score
from cfsweep.training.engine import optimizers
from cfsweep.training.engine.device_memory import peak_bytes, release
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec, score_rows
from cfsweep.training.streams import Stream, Task

START_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Case:
    """One network on one stream, `epochs` passes over each task, at these pack sizes."""

    name: str
    network: NetworkConfig
    stream: Stream
    epochs: int
    sizes: tuple[int, ...]
    batch_size: int = 64

    @property
    def settings(self) -> Settings:
        """Those of the plain loop."""
        return Settings("naive", self.epochs, self.batch_size, (), 1e-3, 0.0, 200, 0.5, 500)


@dataclass(frozen=True)
class Timed:
    """Seconds in which `n_runs` were trained: the training alone, and all in all; each run's average accuracy;
    the most memory of a GPU."""

    n_runs: int
    train_s: float
    whole_s: float
    steps: int
    accuracies: tuple[float, ...]
    peak_bytes: int = 0


@dataclass(frozen=True)
class PerStep:
    """What one step of a whole pack does; how often the host waits for a GPU, per step and beside that per task."""

    counts: Counts
    syncs: float | None = None
    syncs_per_task: float | None = None
    sync_places: tuple[str, ...] = ()


def shortened(stream: Stream, n_tasks: int, n_train: int, n_evaluated: int) -> Stream:
    """The first tasks of `stream`, with so many training examples and validation and test examples each, over again
    where there are not as many."""

    def of(task: Task) -> Task:
        parts = {"train": n_train, "validation": n_evaluated, "test": n_evaluated}
        return replace(task, **{part: np.resize(getattr(task, part), n) for part, n in parts.items()})

    return replace(stream, tasks=tuple(of(task) for task in stream.tasks[:n_tasks]))


def pack_of(case: Case, seeds: Sequence[int], device: str, method: str = "naive") -> Pack:
    """One run per seed. With EWC each trial has a λ of its own, from 1 to 1,000,000."""
    names = () if method == "naive" else (method,)
    strengths = np.logspace(0, 6, len(seeds)).tolist()
    given: dict[str, Value] = {"epochs": case.epochs, "batch_size": case.batch_size, "lr": case.settings.lr}
    values = {name: given.get(name, hyper.default) for name, hyper in hypers_of(names).items()}
    runs = [
        RunSpec(k, seed, {**values, "ewc_lambda": strengths[k]} if method == "ewc" else values)
        for k, seed in enumerate(seeds)
    ]
    return Pack(PackSpec(case.network, "task-il", names, tuple(runs)), case.stream, device)


def train_packs(case: Case, n_runs: int, size: int, device: str, method: str = "naive") -> Timed:
    """`n_runs` in packs of `size`, one pack after another.

    Raises:
        torch.OutOfMemoryError: a pack does not fit.
    """
    if device == "cuda":
        release(torch.device(device))
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    records, n_steps = [], 0
    for first in range(0, n_runs, size):
        pack = pack_of(case, range(first, min(first + size, n_runs)), device, method)
        while not pack.done:
            report = pack.train_next_task()
        records += report.records
        n_steps += report.records[0].steps
    whole_s = time.perf_counter() - started
    accuracies = tuple(average_score(score_rows(record.test, len(case.stream.tasks))[1:]) for record in records)
    train_s = sum(record.train_s for record in records)
    peak = peak_bytes(torch.device(device)) if device == "cuda" else 0
    return Timed(n_runs, train_s, whole_s, n_steps, accuracies, peak)


def train_plain(case: Case, n_runs: int, device: str, fused: bool) -> Timed:
    """One warm process trains one run after another, in a plain loop."""
    _plain_run(case, -1, device, fused)
    started = time.perf_counter()
    outcomes = [_plain_run(case, seed, device, fused) for seed in range(n_runs)]
    whole_s = time.perf_counter() - started
    train_s = sum(outcome.train_s for outcome in outcomes)
    return Timed(n_runs, train_s, whole_s, sum(o.steps for o in outcomes), _accuracies(outcomes))


def train_sharing(case: Case, n_runs: int, processes: int, device: str) -> Timed:
    """Warm processes share the device, and take the next run when they are free: the plain loop, fused, as Ray Tune
    runs it with a fraction of a GPU each. The time of training is what each run took, by so many at once."""
    context = get_context("spawn")
    barrier = context.Barrier(processes)
    with ProcessPoolExecutor(processes, context, initializer=_warm_up, initargs=(barrier, case, device)) as pool:
        done = [future.result() for future in [pool.submit(_timed_run, seed) for seed in range(n_runs)]]
    seconds = max(end for _, end, _ in done) - min(start for start, _, _ in done)
    outcomes = [outcome for _, _, outcome in done]
    train_s = sum(outcome.train_s for outcome in outcomes) / processes
    return Timed(n_runs, train_s, seconds, sum(o.steps for o in outcomes), _accuracies(outcomes))


_shared: tuple[Case, str]


def _warm_up(barrier: Barrier, case: Case, device: str) -> None:
    global _shared
    torch.set_num_threads(1)
    _shared = (case, device)  # what initializers are for: a run is then a seed alone
    _plain_run(replace(case, stream=shortened(case.stream, 1, 2 * case.batch_size, 16)), -1, device, fused=True)
    barrier.wait(START_TIMEOUT_S)


def _timed_run(seed: int) -> tuple[float, float, Outcome]:
    started = time.monotonic()  # one clock for all processes of a machine
    outcome = _plain_run(_shared[0], seed, _shared[1], fused=True)
    return started, time.monotonic(), outcome


def _plain_run(case: Case, seed: int, device: str, fused: bool) -> Outcome:
    return PlainRun(case.stream, case.settings, abs(seed), fused, device, case.network).run()


def _accuracies(outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    return tuple(average_score(np.array(outcome.matrix)) for outcome in outcomes)


def per_step(case: Case, size: int, device: str) -> PerStep:
    """Counted: what a task of four steps does beyond one of two. (So what a task does once is left out.)"""

    def task_of(n_steps: int) -> Callable[[], object]:
        stream = shortened(case.stream, len(case.stream.tasks), n_steps * case.batch_size, 16)
        return pack_of(replace(case, stream=stream, epochs=1), range(size), device).train_next_task

    two, four = count(task_of(2)), count(task_of(4))
    counts = Counts(*((getattr(four, f) - getattr(two, f)) // 2 for f in ("flops", "bytes", "ops")))
    if device != "cuda":
        return PerStep(counts)
    waits = [_syncs(task_of(n_steps)) for n_steps in (2, 4)]
    each = (len(waits[1]) - len(waits[0])) / 2
    return PerStep(counts, each, len(waits[0]) - 2 * each, tuple(dict.fromkeys(waits[1])))


def _syncs(act: Callable[[], object]) -> list[str]:
    """Where the host waited for the device, once for each time."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            act()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)]


def copy_bandwidth(device: str, n_bytes: int) -> float:
    """Bytes per second that a large copy within the device moves: read and written."""
    source = torch.randint(256, (n_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * n_bytes / median_s(lambda: target.copy_(source), device)


def median_s(act: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Median seconds of `act()`, the device's work included, after two rounds that do not count."""
    seconds = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        act()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def update_ways(device: str, rows: int, size: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of one Adam update of (rows, size) weights, and the bytes that it must move at least, by way."""
    torch.manual_seed(0)
    theta, gradient, mean = (torch.randn(rows, size, device=device) for _ in range(3))
    square = mean.square()
    lr = torch.full((rows, 1), 1e-3, device=device)
    rates = optimizers.Rates(lr, lr, lr, decays=False)

    def written_out() -> None:
        _adam_written_out(theta, gradient, mean, square, lr)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "written out": (written_out, 22),
        "fused, all rows at once": (
            lambda: optimizers._all_rows_at_once(theta, gradient, mean, square, rates, 3),
            11,
        ),
    }
    if device == "cuda":  # its compiler is slow, and on a CPU another form is in use
        compiled = torch.compile(_adam_written_out)
        ways["written out, compiled"] = (lambda: compiled(theta, gradient, mean, square, lr), 7)
    else:
        ways["fused, row by row"] = (lambda: optimizers._row_by_row(theta, gradient, mean, square, rates, 3), 7)
    return {name: (1e3 * median_s(act, device), passes * theta.nbytes) for name, (act, passes) in ways.items()}


def _adam_written_out(
    theta: torch.Tensor, gradient: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, lr: torch.Tensor
) -> None:
    """The third step, in single operations."""
    beta1, beta2, eps = optimizers.BETA1, optimizers.BETA2, optimizers.EPS
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    size = torch.sqrt(square).div_((1 - beta2**3) ** 0.5).add_(eps)
    theta.sub_(torch.div(mean, size).mul_(lr / (1 - beta1**3)))
