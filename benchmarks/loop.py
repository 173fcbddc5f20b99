"""What a step of training costs: a plain PyTorch loop, a pack of one, a pack of eight, and the floor below them all.

`python -m benchmarks.loop --data DIR` measures on split-mnist, in turns, in one process with one thread, and prints
medians. Times are of training alone (what happens at the end of a task included), never of evaluation. The accuracy
stands beside each time, so that a faster wrong answer shows. `--quick` takes the embedded digits and two short rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.plain import Outcome, PlainRun, Settings
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.metrics import average_accuracy, backward_transfer
from cfsweep.training import optimizers
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec, accuracy_rows
from cfsweep.training.streams import Stream, load_stream

METHODS = ("naive", "ewc", "replay")
SETTINGS = Settings("naive", 5, 64, (256, 256), 1e-3, 1000.0, 200, 0.5, 500)


@dataclass
class Timing:
    """Milliseconds per step of one run, one value per round, and every accuracy matrix seen."""

    ms_per_step: list[float] = field(default_factory=list)
    matrices: list[np.ndarray] = field(default_factory=list)

    @property
    def ms(self) -> float:
        return statistics.median(self.ms_per_step)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self.ms_per_step.append(statistics.mean(1e3 * o.train_s / o.steps for o in outcomes))
        self.matrices += [np.array(o.matrix) for o in outcomes]

    def mean(self, metric: Callable[[np.ndarray], float]) -> float:
        return float(np.mean([metric(matrix) for matrix in self.matrices]))


def plain(stream: Stream, settings: Settings, seed: int, fused: bool = False) -> list[Outcome]:
    """The outcome of the plain loop; with `fused`, of torch's Adam in one pass, which it does not choose by itself."""
    return [PlainRun(stream, settings, seed, fused).run()]


def packed(stream: Stream, settings: Settings, seeds: Sequence[int]) -> list[Outcome]:
    """One outcome per seed; a pack's time is shared evenly among its runs."""
    names = () if settings.method == "naive" else (settings.method,)
    given: dict[str, Value] = {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "ewc_mode": "online",
        "ewc_lambda": settings.ewc_lambda,
        "ewc_examples": settings.ewc_examples,
        "replay_ratio": settings.replay_ratio,
        "replay_buffer": settings.replay_buffer,
    }
    values = {name: given.get(name, hyper.default) for name, hyper in hypers_of(names).items()}
    network = NetworkConfig(name="mlp", args={"hidden": list(settings.hidden)})
    runs = tuple(RunSpec(0, seed, values) for seed in seeds)
    pack = Pack(PackSpec(network, "task-il", names, runs), stream)
    while not pack.done:
        report = pack.step()
    n_test = report.counts["test"]
    return [Outcome(accuracy_rows(r.test, n_test)[1:].tolist(), r.train_s, r.steps) for r in report.records]


def products_ms(stream: Stream, settings: Settings, repeats: int) -> float:
    """Median milliseconds of the matrix products of one step: forward and backward, into memory that is there."""
    sizes = [stream.x[0].numel(), *settings.hidden, stream.n_classes]
    n = settings.batch_size
    layers = [
        (torch.randn(n, i), torch.randn(i, o), torch.randn(n, o), torch.empty(i, o), torch.empty(n, i))
        for i, o in pairwise(sizes)
    ]

    def step() -> None:
        for a, w, d, _, _ in layers:
            torch.mm(a, w, out=d)
        for number, (a, w, d, gw, ga) in enumerate(layers):
            torch.mm(a.T, d, out=gw)
            if number:  # nobody asks for the gradient of the images
                torch.mm(d, w.T, out=ga)

    return _median_ms(step, repeats)


def update_ms(stream: Stream, settings: Settings, repeats: int) -> float:
    """Median milliseconds of one Adam update of one run's weights."""
    sizes = [stream.x[0].numel(), *settings.hidden, stream.n_classes]
    size = sum(i * o + o for i, o in pairwise(sizes))
    theta, gradient = torch.randn(1, size), torch.randn(1, size)
    state = {name: torch.zeros(1, size) for name in optimizers.STATE_NAMES["adam"]}
    column = torch.full((1, 1), settings.lr)
    rates = optimizers.Rates(column, column, column, decays=False)
    return _median_ms(lambda: optimizers.update("adam", theta, gradient, state, rates, 1, []), repeats)


def _median_ms(step: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times)


def measure(stream: Stream, settings: Settings, rounds: int, pack_runs: int) -> dict[tuple[str, str], Timing]:
    """By (method, variant); the variants take turns, so that a slow moment of the machine hits them alike."""
    timings: dict[tuple[str, str], Timing] = {}
    for number in range(rounds):
        seeds = list(range(number * pack_runs, (number + 1) * pack_runs))
        for method in METHODS:
            own = replace(settings, method=method)
            variants: dict[str, Callable[[], list[Outcome]]] = {
                "plain loop": partial(plain, stream, own, seeds[0]),
                "plain, fused Adam": partial(plain, stream, own, seeds[0], fused=True),
                "pack of 1": partial(packed, stream, own, seeds[:1]),
                f"pack of {pack_runs}": partial(packed, stream, own, seeds),
            }
            for variant, act in variants.items():
                timings.setdefault((method, variant), Timing()).add(act())
    return timings


def table(timings: dict[tuple[str, str], Timing], floor_ms: float, title: str) -> Table:
    """One line per method and variant."""
    out = Table(title=title)
    for heading in ("method", "variant"):
        out.add_column(heading)
    headings = ("ms/step per run", "x plain", "x products", "average accuracy", "backward transfer")
    for heading in headings:
        out.add_column(heading, justify="right")
    for (method, variant), timing in timings.items():
        peer = timings[method, "plain loop"]
        accuracy, transfer = timing.mean(average_accuracy), timing.mean(backward_transfer)
        numbers = (timing.ms, timing.ms / peer.ms, timing.ms / floor_ms, accuracy, transfer)
        out.add_row(method, variant, *(f"{n:.{d}f}" for n, d in zip(numbers, (3, 2, 2, 4, 4), strict=True)))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the embedded digits, one epoch, packs of 2")
    given = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        name, pack_runs = ("split-digits", 2) if given.quick else ("split-mnist", 8)
        stream = load_stream(StreamConfig(name=name, data=given.data))
        settings = replace(SETTINGS, epochs=1) if given.quick else SETTINGS
        products, update = (f(stream, settings, 20 if given.quick else 500) for f in (products_ms, update_ms))
        timings = measure(stream, settings, 2 if given.quick else given.rounds, pack_runs)
    finally:
        torch.set_num_threads(threads)
    title = f"{name}, task-il, mlp {settings.hidden}, batch {settings.batch_size}, adam, one thread"
    console = Console(width=120)
    console.print(table(timings, products, title))
    console.print(f"floor: matrix products {products:.3f} ms/step, Adam's update {update:.3f} ms/step")


if __name__ == "__main__":
    main()
