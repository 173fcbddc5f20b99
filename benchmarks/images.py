"""What images take: `python -m benchmarks.images` reads a folder of photographs as a stream, looks at what its pixels
take on the disk and in memory, and trains with and without augmentation in turns. `--write` puts it into the page."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.page import markdown_table, measured_on, put_section
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, Task, load_stream

PAGE = Path(__file__).parent.parent / "docs" / "images.md"
PHOTOGRAPHS, PHOTOGRAPH, SIZE = 2_000, (240, 320), 224
REPEATS = 5
NETWORKS = {"mlp": NetworkConfig(), "cnn": NetworkConfig(name="cnn")}
AUGMENTATIONS: tuple[tuple[str, ...], ...] = (
    ("flip",),
    ("crop", "flip"),
    ("torchvision.transforms.v2:RandomHorizontalFlip",),
)


class Memory(NamedTuple):
    """Of a process, in bytes: what is its own, and what it shares with the file that it maps."""

    own: int
    of_files: int

    @staticmethod
    def now() -> Memory:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return Memory(*(1024 * int(lines[name].split()[0]) for name in ("RssAnon", "RssFile")))


def write_photographs(folder: Path, n: int, size: tuple[int, int]) -> None:
    """`n` JPEGs in folders of 10 classes, as smooth as photographs are."""
    rng = np.random.default_rng(0)
    for number in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        path = folder / str(number % 10) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(path, quality=90)


def loaded(folder: Path, size: int) -> tuple[Stream, float]:
    """The stream of a folder, and the seconds that it took."""
    start = time.perf_counter()
    stream = load_stream(StreamConfig(name=str(folder), n_tasks=5, args={"size": size}))
    return stream, time.perf_counter() - start


def looked_at(folder: Path, size: int) -> tuple[float, Memory]:
    """In a process of its own: the seconds to load a folder, and what its memory has grown by when every image was
    looked at, in batches."""
    before, seen = Memory.now(), torch.zeros((), dtype=torch.int64)
    stream, seconds = loaded(folder, size)
    for indices in torch.randperm(len(stream.x)).split(64):
        seen += stream.x.index_select(0, indices).sum()
    after = Memory.now()
    return seconds, Memory(after.own - before.own, after.of_files - before.of_files)


def store_table(n: int, size: int) -> str:
    """What the pixels of `n` photographs take."""
    with tempfile.TemporaryDirectory(prefix="cfsweep-images-") as scratch:
        folder = Path(scratch) / "photographs"
        write_photographs(folder, n, PHOTOGRAPH)
        environment = {**os.environ, "CFSWEEP_CACHE": f"{scratch}/cache"}
        command = [sys.executable, "-m", "benchmarks.images", "--look-at", str(folder), "--size", str(size)]
        first, *others = (
            [float(word) for word in subprocess.check_output(command, env=environment, text=True).split()]
            for _ in range(3)
        )
        files = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
        stored = sum(path.stat().st_size for path in Path(scratch, "cache").rglob("*.npy"))
    seconds, own, of_files = (float(np.median([other[k] for other in others])) for k in range(3))
    return markdown_table(
        [
            "photographs",
            "JPEG, MB",
            "pixels, MB",
            "read first, s",
            "again, s",
            "own memory, MB",
            "mapped, MB",
        ],
        [
            [
                f"{n:,} of {PHOTOGRAPH[1]} x {PHOTOGRAPH[0]}, size {size}",
                *(f"{value / 1e6:,.0f}" for value in (files, stored)),
                f"{first[0]:.1f}",
                f"{seconds:.1f}",
                *(f"{value / 1e6:,.0f}" for value in (own, of_files)),
            ]
        ],
    )


def small_images(n: int) -> Stream:
    """`n` images (3, 32, 32) uint8 of two classes, one task."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 256, (n, 3, 32, 32), np.uint8))
    task = Task("0", (0, 1), *np.array_split(np.arange(n), [n - 20, n - 10]))
    return Stream("images", x, torch.arange(n) % 2, (task,), 128.0, 1 / 64)


def training_s(stream: Stream, network: NetworkConfig, runs: int) -> float:
    """The seconds of a processor that a pack of runs takes to learn the one task, in batches of 64."""
    values = {name: hyper.default for name, hyper in hypers_of(()).items()} | {"epochs": 1, "batch_size": 64}
    specs = tuple(RunSpec(0, seed, values) for seed in range(runs))
    pack = Pack(PackSpec(network, "task-il", (), specs, parts=("validation",)), stream)
    start = time.process_time()
    pack.train_next_task()
    return time.process_time() - start


def cost_rows(n: int, networks: Sequence[str], repeats: int) -> list[list[str]]:
    """By network and number of runs, a processor's milliseconds per step and run without augmentation, and how many
    times as long it takes with each: medians of ratios of neighbours in time."""
    plain, rows = small_images(n), []
    streams = [plain, *(replace(plain, augment=names) for names in AUGMENTATIONS)]
    steps = -(-len(plain.tasks[0].train) // 64)
    for name in networks:
        for runs in (1, 8) if name == "mlp" else (1,):
            seconds = np.array([[training_s(s, NETWORKS[name], runs) for s in streams] for _ in range(repeats)])
            ratios = np.median(seconds[:, 1:] / seconds[:, :1], 0)
            ms = 1e3 * float(np.median(seconds[:, 0])) / steps / runs
            rows.append([f"{name}, {runs} run{'s' * (runs > 1)}", f"{ms:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into docs/images.md")
    parser.add_argument("--look-at", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=SIZE, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.look_at:
        seconds, grown = looked_at(given.look_at, given.size)
        print(seconds, *grown)
        return
    names = [" + ".join(f"`{one.rpartition(':')[2]}`" for one in names) for names in AUGMENTATIONS]
    cost = markdown_table(["network", "ms per step and run", *names], cost_rows(788, list(NETWORKS), REPEATS))
    foot = measured_on("python -m benchmarks.images --write")
    text = f"{store_table(PHOTOGRAPHS, SIZE)}\n\n{cost}\n\n{foot}"
    print(text)
    if given.write:
        put_section(PAGE, "images", text)


if __name__ == "__main__":
    main()
