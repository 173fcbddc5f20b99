"""What a network costs that trains alone: `python -m benchmarks.alone` trains torchvision's ResNet-18, with batch norm,
on two tasks in a textbook loop, as cfsweep does, in micro-batches, and laid out by channels; in turns, each in
a process of its own, whose memory is taken. `--write` puts it into the page."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models import resnet18

from benchmarks.page import markdown_table, measured_on, put_section
from cfsweep.config import NetworkConfig
from cfsweep.training import batches
from cfsweep.training.engine.randomness import torch_seed
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, Task

PAGE = Path(__file__).parent.parent / "docs" / "large-networks.md"
REPEATS, N_TRAIN, N_TEST, BATCH, SIZE = 3, 768, 128, 64, 64
NETWORK = NetworkConfig(name="torchvision:resnet18")
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "`micro_batch: 16`": {"micro_batch": 16},
    "`channels_last: true`": {"channels_last": True},
}
TEXTBOOK = "a textbook loop"


def images(size: int, n_train: int, n_test: int) -> Stream:
    """Two tasks of two classes each, coloured patches under noise: (3, size, size) float32."""
    rng = np.random.default_rng(0)
    n, tasks, x, y = n_train + n_test, [], [], []
    for number in range(2):
        labels = 2 * number + np.arange(n) % 2
        colours = rng.normal(size=(2, 3, 1, 1))
        x.append(rng.normal(size=(n, 3, size, size)) * 2 + colours[np.arange(n) % 2])
        y.append(labels)
        train, test = np.split(number * n + np.arange(n), [n_train])
        tasks.append(Task(str(number), (2 * number, 2 * number + 1), train, test[:0], test))
    pixels = torch.from_numpy(np.concatenate(x)).to(torch.float32)
    return Stream("images", pixels, torch.from_numpy(np.concatenate(y)), tuple(tasks), 0.0, 1.0)


def run_of(batch: int) -> RunSpec:
    """The one run: naive, SGD with momentum, one epoch of a task."""
    values = {name: hyper.default for name, hyper in hypers_of(()).items()}
    return RunSpec(0, 0, {**values, "optimizer": "sgd", "lr": 0.01, "epochs": 1, "batch_size": batch})


def ours(stream: Stream, batch: int, **how: Any) -> tuple[list[float], list[float]]:
    """The seconds that each task trained, and the accuracies on the test data in the end."""
    network = NETWORK.model_copy(update=how)
    pack = Pack(PackSpec(network, "task-il", (), (run_of(batch),), parts=("test",)), stream)
    seconds = []
    for _ in stream.tasks:
        before = pack.records[0].train_s
        pack.train_next_task()
        seconds.append(pack.records[0].train_s - before)
    return seconds, pack.records[0].test[-1]


def textbook(stream: Stream, batch: int) -> tuple[list[float], list[float]]:
    """The same as anyone would write it, with the same first weights and batches."""
    torch.manual_seed(torch_seed(0, "init"))
    network = resnet18(num_classes=4)
    seconds = []
    for number, task in enumerate(stream.tasks):
        network.train()
        start = time.perf_counter()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        order = torch.from_numpy(batches.shuffled(run_of(batch), task.train, number, 0))
        for indices in order.split(batch):
            logits = network(stream.x[indices])[:, list(task.classes)]
            loss = nn.functional.cross_entropy(logits, stream.y[indices] - task.classes[0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    network.eval()
    found = []
    with torch.no_grad():
        for task in stream.tasks:
            logits = network(stream.x[task.test])[:, list(task.classes)]
            found.append(float((logits.argmax(1) == stream.y[task.test] - task.classes[0]).float().mean()))
    return seconds, found


def measured(way: str, size: int = SIZE, n_train: int = N_TRAIN, n_test: int = N_TEST) -> dict[str, Any]:
    """The seconds that it trained, accuracies and peak memory of this process."""
    torch.set_num_threads(1)
    stream = images(size, n_train, n_test)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, accuracies = textbook(stream, BATCH) if way == TEXTBOOK else ours(stream, BATCH, **WAYS[way])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"s": sum(seconds), "accuracies": accuracies, "MB": grown / 1024}


def rows_of(found: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """A row for each way: medians, and medians of the ratios to the textbook loop of the same repeat."""
    rows = []
    for way, repeats in found.items():
        ratios = [one["s"] / of["s"] for one, of in zip(repeats, found[TEXTBOOK], strict=True)]
        rows.append(
            [
                way,
                f"{np.median([one['s'] for one in repeats]):.2f}",
                f"{np.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                f"{np.median([one['MB'] for one in repeats]):,.0f}",
                ", ".join(f"{accuracy:.4f}" for accuracy in repeats[0]["accuracies"]),
            ]
        )
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into docs/large-networks.md")
    parser.add_argument("--way", choices=[TEXTBOOK, *WAYS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measured(given.way)))
        return
    ways = [TEXTBOOK, *WAYS]
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way in ways:
            command = [sys.executable, "-m", "benchmarks.alone", "--way", way]
            found[way].append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
    heads = [
        "ResNet-18",
        "s for both tasks",
        "× a textbook loop",
        "memory, MB",
        "accuracy of tasks 0, 1",
    ]
    table = markdown_table(heads, rows_of(found))
    text = f"{table}\n\n{measured_on('python -m benchmarks.alone --write')}"
    print(text)
    if given.write:
        put_section(PAGE, "alone", text)


if __name__ == "__main__":
    main()
