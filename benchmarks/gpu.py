"""Packs on a GPU, from 1 run to 1,024, beside the same GPU used one run after another and by 16 processes at once.

`python -m benchmarks.gpu` takes the GPU that torch sees, for ten minutes or so, and says what it ran on. Without one
it measures the processor with small sizes, to show that it works; `--quick` is smaller still. `--write` puts the tables
into docs/performance.md. The accuracy stands beside each time and must agree between all ways: they differ in how many
seeds they have. With $CFSWEEP_DATA or `--data` the images are those of Split-MNIST; otherwise, and always in place of
CIFAR, seeded synthetic ones of the same shape and number. It needs torch, NumPy and pydantic, neither Ray nor Optuna.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from benchmarks import gpu_measures as measures
from benchmarks.gpu_measures import Case, PerStep, Timed
from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.training.engine.device_memory import is_out_of_memory
from cfsweep.training.streams import Stream, Task, load_stream

SIZES = tuple(2**k for k in range(11))
PACKS_LIMIT_S = 70.0  # of a case: no pack is begun that would go on beyond it, as far as the one before can tell
SYNTHETIC = {"split-mnist": ((1, 28, 28), 2529, 281, 2000), "split-cifar": ((3, 32, 32), 2000, 200, 400)}


@dataclass
class Found:
    """What was measured of one case: the ways without packs, the packs by size, and why there are no larger ones."""

    case: Case
    one_by_one: dict[str, Timed] = field(default_factory=dict)
    packs: dict[int, Timed] = field(default_factory=dict)
    steps: dict[int, PerStep] = field(default_factory=dict)
    ended: str = ""

    @property
    def fastest(self) -> int:
        return max(self.packs, key=lambda size: size / self.packs[size].train_s)


def synthetic(name: str) -> Stream:
    """Five tasks of two classes, each a pattern in noise; the same numbers whenever it is called."""
    shape, *counts = SYNTHETIC[name]
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(10, *shape))
    images, labels, tasks, at = [], [], [], 0
    for number in range(5):
        parts = {}
        for part, n in zip(("train", "validation", "test"), counts, strict=True):
            y = rng.integers(2 * number, 2 * number + 2, n)
            images.append(np.clip(128 + 12 * patterns[y] + 60 * rng.normal(size=(n, *shape)), 0, 255).astype(np.uint8))
            labels.append(y)
            parts[part] = np.arange(at, at + n)
            at += n
        tasks.append(Task(f"classes {2 * number} and {2 * number + 1}", (2 * number, 2 * number + 1), **parts))
    x, y = torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))
    return Stream(f"synthetic, shaped as {name}", x, y, tuple(tasks), shift=128.0, scale=1 / 64)


def cases(data: str | None, device: str, quick: bool) -> Iterator[Case]:
    """The three networks, as large as the device bears."""
    mnist = load_stream(StreamConfig(name="split-mnist", data=data)) if data and not quick else synthetic("split-mnist")
    cifar, by_four = synthetic("split-cifar"), SIZES[::2]
    mlp = NetworkConfig(name="mlp", args={"hidden": [256, 256]})
    cnn, resnet = NetworkConfig(name="cnn"), NetworkConfig(name="resnet18-slim")
    if quick:
        yield Case("mlp 256-256", mlp, measures.shortened(mnist, 2, 256, 200), 1, (1, 2, 4))
    elif device == "cuda":
        yield Case("mlp 256-256", mlp, mnist, 5, SIZES)
        yield Case("cnn", cnn, mnist, 1, by_four)
        yield Case("resnet18-slim", resnet, cifar, 1, by_four)
    else:
        yield Case("mlp 256-256", mlp, mnist, 1, SIZES[:5])
        yield Case("cnn", cnn, measures.shortened(mnist, 2, 256, 200), 1, (1, 4))
        yield Case("resnet18-slim", resnet, measures.shortened(cifar, 2, 128, 50), 1, (1, 4))


def measured(case: Case, device: str, processes: int, n_plain: int) -> Found:
    """All ways for one case; larger packs until memory or time is out."""
    found = Found(case)
    found.one_by_one = {
        "plain loop, one after another": measures.train_plain(case, n_plain, device, fused=False),
        "the same, fused Adam": measures.train_plain(case, n_plain, device, fused=True),
    }
    try:
        name = f"the same in {processes} processes at once"
        found.one_by_one[name] = measures.train_sharing(case, 2 * processes, processes, device)
    except (BrokenProcessPool, RuntimeError) as error:
        print(f"{case.name}: {processes} processes at once came to grief: {type(error).__name__}: {error}")
    measures.train_packs(replace(case, stream=measures.shortened(case.stream, 1, 128, 16)), 1, 1, device)  # warm
    began = time.monotonic()
    for size in case.sizes:
        if found.packs and time.monotonic() - began + 3 * found.packs[max(found.packs)].whole_s > PACKS_LIMIT_S:
            found.ended = f"{size} would have taken too long"
            break
        try:
            found.steps[size] = measures.per_step(case, size, device)
            found.packs[size] = measures.train_packs(case, size, size, device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            found.ended = f"{size} did not fit into memory"
            break
    return found


def table(found: Found, bandwidth: float) -> str:
    """One line for each way; below, what held, and what ended it."""
    one = found.one_by_one["the same, fused Adam"]
    sharing = [timed for name, timed in found.one_by_one.items() if "processes" in name]
    rates = [_per_second(one), *(_per_second(timed) for timed in sharing)]
    ways = [*found.one_by_one.items(), *((f"pack of {size}", timed) for size, timed in found.packs.items())]
    rows = []
    for name, timed in ways:
        rate = _per_second(timed)
        times = [f"{rate / other:.2f}" for other in rates]
        rows.append(
            [name, f"{rate:.3g}", *times, f"{1e3 / rate:.3g}", f"{timed.n_runs / timed.whole_s:.3g}", _accuracy(timed)]
        )
    headings = [
        "way",
        "trials/s",
        "x one by one",
        *(["x processes"] if sharing else []),
        "ms a run",
        "trials/s, all in all",
        "average accuracy",
    ]
    title = f"**{found.case.name}**, naive, {_setting(found.case)}"
    text = f"{title}\n\n{markdown_table(headings, rows)}\n\n{_steps(found, bandwidth)}"
    return text + (f"\nLarger packs: {found.ended}.\n" if found.ended else "")


STEP_HEADINGS = (
    "runs",
    "ms a step",
    "µs a step and run",
    "MB a step and run",
    "MFLOP a step and run",
    "of copy bandwidth",
    "TFLOP/s",
    "operations",
    "waits a step",
    "waits a task",
    "MB peak a run",
)


def _steps(found: Found, bandwidth: float) -> str:
    return markdown_table(STEP_HEADINGS, [_of_step(found, size, bandwidth) for size in found.packs]) + "\n"


def _of_step(found: Found, size: int, bandwidth: float) -> list[str]:
    timed, step = found.packs[size], found.steps[size]
    seconds, counts = timed.train_s / timed.steps, step.counts
    waits = ["-", "-"] if step.syncs is None else [f"{step.syncs:g}", f"{step.syncs_per_task:g}"]
    return [
        str(size),
        f"{1e3 * seconds:.3g}",
        f"{1e6 * seconds / size:.4g}",
        f"{counts.bytes / size / 1e6:.3g}",
        f"{counts.flops / size / 1e6:.3g}",
        f"{100 * counts.bytes / seconds / bandwidth:.1f} %",
        f"{counts.flops / seconds / 1e12:.3g}",
        str(counts.ops),
        *waits,
        f"{timed.peak_bytes / size / 1e6:.3g}" if timed.peak_bytes else "-",
    ]


def _setting(case: Case) -> str:
    stream, n_train = case.stream, sum(len(task.train) for task in case.stream.tasks)
    return (
        f"{stream.name}, {len(stream.tasks)} tasks, {n_train} training images, {case.epochs} "
        f"epoch{'s' * (case.epochs != 1)}, batch {case.batch_size}, Adam"
    )


def _per_second(timed: Timed) -> float:
    return timed.n_runs / timed.train_s


def _accuracy(timed: Timed) -> str:
    spread = f" ± {statistics.stdev(timed.accuracies) / len(timed.accuracies) ** 0.5:.4f}" if timed.n_runs > 1 else ""
    return f"{statistics.mean(timed.accuracies):.4f}{spread}"


def many_trials(found: Found, n_trials: int, device: str) -> str:
    """Seconds of training of many trials of the first case, without and with EWC, in packs of the fastest size."""
    rows = []
    for method in ("naive", "ewc"):
        size = min(found.fastest, n_trials)
        while True:
            try:
                timed = measures.train_packs(found.case, n_trials, size, device, method)
                break
            except Exception as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
                size //= 2
        rows.append([method, str(size), f"{timed.train_s:.2f}", f"{timed.whole_s:.2f}", _accuracy(timed)])
    title = (
        f"**{n_trials} trials** of {found.case.name}, {_setting(found.case)}; each has its own seed and shares nothing"
    )
    headings = ["method", "runs in a pack", "seconds of training", "seconds, all in all", "average accuracy"]
    return f"{title}\n\n{markdown_table(headings, rows)}\n"


def update_table(device: str, rows: int, size: int, bandwidth: float) -> str:
    ways = measures.update_ways(device, rows, size)
    lines = [[name, f"{ms:.3g}", f"{moved / ms * 1e3 / bandwidth * 100:.1f} %"] for name, (ms, moved) in ways.items()]
    headings = ["Adam's update", "ms", "of copy bandwidth"]
    return f"One update of {rows} runs of {size} weights\n\n{markdown_table(headings, lines)}\n"


def report(data: str | None, device: str, quick: bool) -> Iterator[str]:
    """The whole section, in Markdown, part by part as it is measured."""
    large = device == "cuda" and not quick
    bandwidth = measures.copy_bandwidth(device, 2**31 if large else 2**26)
    processes, n_plain = (16, 3) if large else (2, 2)
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: what follows was measured on a processor"
    yield (
        f"On {where}. A large copy moves {bandwidth / 1e9:.0f} GB/s, read and written. Times are of training alone "
        "unless they say otherwise; the bytes are those of each operation's arguments and results, counted, whatever a "
        "cache may save; a wait is a point at which the host waits for the GPU."
    )
    syncs: dict[str, None] = {}
    for number, case in enumerate(cases(data, device, quick)):
        found = measured(case, device, processes, n_plain)
        yield table(found, bandwidth)
        syncs |= dict.fromkeys(place for step in found.steps.values() for place in step.sync_places)
        if number == 0:
            yield many_trials(found, 1000 if large else 2 if quick else 16, device)
    if device == "cuda":
        places = sorted(place.rpartition("/cfsweep/")[2] for place in syncs)
        yield f"Where the host waits for the GPU in a task: {', '.join(places) or 'nowhere'}."
    yield update_table(device, 512 if large else 8, 269_322, bandwidth)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("CFSWEEP_DATA"), help="folder with MNIST/raw ($CFSWEEP_DATA)")
    parser.add_argument("--quick", action="store_true", help="small sizes, synthetic images, a few seconds")
    parser.add_argument("--write", action="store_true", help="puts the tables into docs/performance.md")
    given = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = []
    try:
        for part in report(given.data, device, given.quick):
            print(part, end="\n\n", flush=True)  # what is measured is not lost if a later part fails
            parts.append(part)
    finally:
        torch.set_num_threads(threads)
    parts.append(measured_on("python -m benchmarks.gpu" + " --quick" * given.quick))
    print(parts[-1])
    if given.write:
        put_section(PERFORMANCE, "gpu", "\n\n".join(parts))


if __name__ == "__main__":
    main()
