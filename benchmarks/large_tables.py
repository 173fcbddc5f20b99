"""What data take that do not fit memory: `python -m benchmarks.large_tables` reads a table, and the same examples as a
folder of tasks, mapped and in memory, and trains on them. `--write` puts it into the page."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.images import Memory
from benchmarks.page import markdown_table, measured_on, put_section
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, _cache, load_stream

PAGE = Path(__file__).parent.parent / "docs" / "own-data.md"
ROWS, FEATURES, TASKS = 3_000_000, 100, 8
WRITTEN_AT_ONCE = 250_000
BATCH = 256
ARGS = {"table.parquet": {"target": "y", "task": "month"}, "tasks": {}}


def write_data(folder: Path, rows: int, features: int) -> None:
    """The same examples as a table, `table.parquet`, and as a folder with a file for each task, `tasks`."""
    (folder / "tasks").mkdir(parents=True)
    names = [f"f{k}" for k in range(features)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int64()), ("month", pa.int64())])
    with pq.ParquetWriter(folder / "table.parquet", schema) as writer:
        for task in range(TASKS):
            rng = np.random.default_rng(task)
            x = rng.standard_normal((rows // TASKS, features), np.float32)
            y = (x[:, 0] + rng.standard_normal(len(x)) > 0).astype(np.int64)
            np.savez(folder / "tasks" / f"{task}.npz", x_train=x, y_train=y)
            for at in range(0, len(x), WRITTEN_AT_ONCE):
                part, label = x[at : at + WRITTEN_AT_ONCE], y[at : at + WRITTEN_AT_ONCE]
                writer.write_table(pa.table([*part.T, label, np.full(len(part), task)], schema=schema))


class Highest:
    """The most that a process has of its own while this is entered, in bytes."""

    def __enter__(self) -> Highest:
        self.own, self._ended = Memory.now().own, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.own = max(self.own, Memory.now().own)


def training_ms(stream: Stream) -> float:
    """A processor's milliseconds for a step of the first task, trained for one epoch."""
    values = {name: hyper.default for name, hyper in hypers_of(()).items()} | {"epochs": 1, "batch_size": BATCH}
    spec = PackSpec(NetworkConfig(), "domain-il", (), (RunSpec(0, 0, values),), parts=("validation",))
    pack, start = Pack(spec, stream), time.process_time()
    pack.train_next_task()
    return 1e3 * (time.process_time() - start) / -(-len(stream.tasks[0].train) // BATCH)


def looked_at(path: Path, in_memory: bool) -> dict[str, float]:
    """In a process of its own: the seconds to load the data, what its own memory has grown by at most, what it
    keeps, and what a step takes."""
    if in_memory:
        _cache.IN_MEMORY_BYTES = 2**60
    before = Memory.now().own
    with Highest() as most:
        start = time.perf_counter()
        stream = load_stream(StreamConfig(name=str(path), scenario="domain-il", args=ARGS[path.name]))
        seconds = time.perf_counter() - start
    kept = Memory.now().own
    return {
        "s": seconds,
        "most": most.own - before,
        "kept": kept - before,
        "ms": training_ms(stream),
        "mapped": bool(stream.mapped),
    }


def rows_of(folder: Path) -> list[list[str]]:
    """What is measured of each kind of data, mapped and in memory."""
    environment = {**os.environ, "CFSWEEP_CACHE": str(folder / "cache")}

    def look(name: str, *flags: str) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.large_tables", "--look-at", str(folder / name), *flags]
        found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment, text=True))
        return found

    rows = []
    for name, called in (("table.parquet", "a table"), ("tasks", f"a folder of {TASKS} tasks")):
        first, again, whole = look(name), look(name), look(name, "--in-memory")
        for way, times, one in (
            ("mapped", f"{first['s']:.0f}, again {again['s']:.0f}", {**first, "ms": again["ms"]}),
            ("in memory", f"{whole['s']:.0f}", whole),
        ):
            figures = [f"{one['most'] / 1e9:.1f}", f"{one['kept'] / 1e9:.1f}", f"{one['ms']:.2f}"]
            rows.append([f"{called}, {way}", times, *figures])
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into docs/own-data.md")
    parser.add_argument("--look-at", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.look_at:
        print(json.dumps(looked_at(given.look_at, given.in_memory)))
        return
    with tempfile.TemporaryDirectory(prefix="cfsweep-large-") as scratch:
        folder = Path(scratch)
        write_data(folder, ROWS, FEATURES)
        headings = ["", "loaded, s", "own memory at most, GB", "kept, GB", "ms per step"]
        table = markdown_table(headings, rows_of(folder))
    text = (
        f"{ROWS:,} rows of {FEATURES} numbers, {4 * ROWS * FEATURES / 1e9:g} GB as float32:\n\n{table}\n\n"
        f"{measured_on('python -m benchmarks.large_tables --write')}"
    )
    print(text)
    if given.write:
        put_section(PAGE, "large", text)


if __name__ == "__main__":
    main()
