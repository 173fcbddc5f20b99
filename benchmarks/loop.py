"""What a step of training costs: a plain PyTorch loop, a pack of one, a pack of eight, and the floor below them all.

`python -m benchmarks.loop --data DIR` measures on split-mnist, in turns, in one process with one thread, and prints
medians. Times are of training alone (what happens at the end of a task included), never of evaluation. The accuracy
stands beside each time, so that a faster wrong answer shows. `--write` puts all into docs/performance.md; `--quick`
takes the embedded digits and two short rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.anatomy import Anatomy, anatomy, beside, evaluation_products_frac, fisher_s
from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section
from benchmarks.plain import Outcome, PlainRun, Settings
from cfsweep.config import PARTS, NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.metrics import average_score, backward_transfer
from cfsweep.training.engine import optimizers
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec, score_rows
from cfsweep.training.streams import Stream, load_stream

METHODS = ("naive", "ewc", "replay", "packnet")
PLAIN_METHODS = ("naive", "ewc", "replay")
ANATOMY_HEADINGS = ("method", *(f.name for f in fields(Anatomy)))
# As on the workers of a sweep.
ENVIRONMENT = (
    "OMP_NUM_THREADS=1 MKL_CBWR=AUTO,STRICT MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000"
)
SETTINGS = Settings("naive", 5, 64, (256, 256), 1e-3, 1000.0, 200, 0.5, 500)


@dataclass
class Timing:
    """Milliseconds per step of one run, one value per round, and every accuracy matrix seen.

    >>> timing = Timing()
    >>> for seconds in (1.0, 5.0, 2.0):
    ...     timing.add([Outcome([[1.0, 0.5], [0.5, 1.0]], seconds, steps=1000)])
    >>> timing.ms, timing.mean(average_score)
    (2.0, 0.75)
    """

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


def make_pack(stream: Stream, settings: Settings, seeds: Sequence[int], parts: tuple[str, ...] = PARTS) -> Pack:
    """One run per seed, by the peer's settings, scored by these parts of the tasks' examples."""
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
    return Pack(PackSpec(network, "task-il", names, runs, parts=parts), stream)


def packed(stream: Stream, settings: Settings, seeds: Sequence[int]) -> list[Outcome]:
    """One outcome per seed; a pack's time is shared evenly among its runs."""
    pack = make_pack(stream, settings, seeds)
    while not pack.done:
        report = pack.train_next_task()
    n_tasks = len(stream.tasks)
    return [Outcome(score_rows(r.test, n_tasks)[1:].tolist(), r.train_s, r.steps) for r in report.records]


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
            variants: dict[str, Callable[[], list[Outcome]]] = {}
            if method in PLAIN_METHODS:
                variants |= {
                    "plain loop": partial(plain, stream, own, seeds[0]),
                    "plain, fused Adam": partial(plain, stream, own, seeds[0], fused=True),
                }
            variants |= {
                "pack of 1": partial(packed, stream, own, seeds[:1]),
                f"pack of {pack_runs}": partial(packed, stream, own, seeds),
            }
            for variant, act in variants.items():
                timings.setdefault((method, variant), Timing()).add(act())
    return timings


HEADINGS = (
    "method",
    "variant",
    "ms/step per run",
    "x plain loop",
    "x floor",
    "x naive",
    "average accuracy",
    "backward transfer",
)


def rows_of(timings: dict[tuple[str, str], Timing], floor_ms: float) -> list[list[str]]:
    """One row of text per method and variant."""
    rows = []
    for (method, variant), timing in timings.items():
        plain_loop, naive = timings.get((method, "plain loop")), timings["naive", variant]
        ratio = "" if plain_loop is None else f"{timing.ms / plain_loop.ms:.2f}"
        accuracy, transfer = timing.mean(average_score), timing.mean(backward_transfer)
        numbers = (f"{timing.ms:.3f}", ratio, f"{timing.ms / floor_ms:.2f}", f"{timing.ms / naive.ms:.2f}")
        rows.append([method, variant, *numbers, f"{accuracy:.4f}", f"{transfer:.4f}"])
    return rows


def anatomy_rows(stream: Stream, settings: Settings) -> list[list[str]]:
    """One row of text per method: where a step of a pack of one goes."""
    rows = []
    for method in METHODS:
        found = anatomy(make_pack(stream, replace(settings, method=method), [0]))
        rows.append([method, *(f"{getattr(found, f.name):.3f}" for f in fields(Anatomy))])
    return rows


def remarks(stream: Stream, settings: Settings, products: float, update: float, repeats: int) -> list[str]:
    """What else there is to say, a sentence each."""
    fisher = fisher_s(make_pack(stream, replace(settings, method="ewc"), [0]), repeats)
    spent = beside(make_pack(stream, settings, [0], parts=("validation",)))  # as in a sweep
    floor = evaluation_products_frac(stream, settings.hidden, settings.epochs)
    n_held, n_train = (sum(len(getattr(task, part)) for task in stream.tasks) for part in ("validation", "train"))
    return [
        f"The floor is the matrix products of a step, {products:.3f} ms, and Adam's update, {update:.3f} ms.",
        f"The Fisher diagonal of {settings.ewc_examples} examples takes {fisher:.4f} s.",
        f"Evaluating every task before the first and after each takes {spent.evaluation_s / spent.total_s:.1%} of a "
        f"naive run's time in a sweep, its steps {spent.steps_s / spent.total_s:.1%}. {n_held:,} validate beside "
        f"{n_train:,} of training here: the products of the evaluation are {floor:.1%} of those of the steps.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the embedded digits, one epoch, packs of 2")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    given = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        name, pack_runs = ("split-digits", 2) if given.quick else ("split-mnist", 8)
        stream = load_stream(StreamConfig(name=name, data=given.data))
        settings = replace(SETTINGS, epochs=1) if given.quick else SETTINGS
        repeats = 20 if given.quick else 500
        products, update = (f(stream, settings, repeats) for f in (products_ms, update_ms))
        timings = measure(stream, settings, 2 if given.quick else given.rounds, pack_runs)
        anatomies = anatomy_rows(stream, settings)
        sentences = remarks(stream, settings, products, update, repeats // 20)
    finally:
        torch.set_num_threads(threads)
    title = f"{name}, task-il, mlp {settings.hidden}, batch {settings.batch_size}, adam, one thread"
    rows = rows_of(timings, products + update)
    show(title, rows, anatomies, sentences)
    if given.write:
        write(title, rows, anatomies, sentences)


def show(title: str, rows: list[list[str]], anatomies: list[list[str]], sentences: list[str]) -> None:
    """Prints all to the terminal."""
    console = Console(width=120)
    for heading, columns, lines in (
        (title, HEADINGS, rows),
        ("where a step of a pack of 1 goes, ms (profiled, second task)", ANATOMY_HEADINGS, anatomies),
    ):
        table = Table(*columns, title=heading)
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for sentence in sentences:
        console.print(sentence, highlight=False, soft_wrap=True)


def write(title: str, rows: list[list[str]], anatomies: list[list[str]], sentences: list[str]) -> None:
    """Puts all into docs/performance.md."""
    foot = measured_on(f"{ENVIRONMENT} python -m benchmarks.loop --write")
    parts = [
        f"{title}. Medians of rounds in turns; `x naive` is against the same variant without an ingredient.",
        markdown_table(HEADINGS, rows),
        "Where a step of a pack of 1 goes, in ms, by torch's profiler, whose own cost is in it (second task):",
        markdown_table(ANATOMY_HEADINGS, anatomies),
        "\n".join(f"- {sentence}" for sentence in sentences),
        foot,
    ]
    put_section(PERFORMANCE, "loop", "\n\n".join(parts))


if __name__ == "__main__":
    main()
