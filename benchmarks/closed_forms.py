"""How nearest means, discriminants and random features do on the same features, class-incremental:
`python -m benchmarks.closed_forms [--stream split-mnist] [--encoder package.module:function]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np

from benchmarks.page import markdown_table
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream

SETTINGS: tuple[tuple[str, Mapping[str, Value]], ...] = (
    ("ncm", {}),
    ("slda", {}),
    ("slda", {"slda_shrinkage": 0.1}),
    ("ranpac", {"ranpac_projection": 200}),
    ("ranpac", {"ranpac_projection": 1000}),
)
HEADINGS = ("remedy", "settings", "accuracy, test data", "seconds", "stored, kB")


def measured(stream: Stream, name: str, given: Mapping[str, Value], seeds: int) -> list[str]:
    """A row under `HEADINGS`: mean over tasks at the end, over seeds ± their deviation."""
    values = {hyper.name: hyper.default for hyper in hypers_of([name]).values()} | dict(given)
    runs = tuple(RunSpec(0, seed, values) for seed in range(seeds))
    start = time.perf_counter()
    pack = Pack(PackSpec(NetworkConfig(name="linear"), "class-il", (name,), runs, parts=("test",)), stream)
    while not pack.done:
        pack.train_next_task()
    seconds = (time.perf_counter() - start) / seeds
    ends = np.array([100 * np.mean(record.test[-1]) for record in pack.records])
    spread = f" ± {ends.std(ddof=1):.2f}" if seeds > 1 else ""
    said = ", ".join(f"{key} {value}" for key, value in given.items()) or "defaults"
    return [
        f"`{name}`",
        said,
        f"{ends.mean():.2f}{spread}",
        f"{seconds:.1f}",
        f"{pack.records[0].stored_bytes / 1e3:,.0f}",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", default="split-digits")
    parser.add_argument("--encoder")
    parser.add_argument("--standardise", default=None)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    config = StreamConfig(name=asked.stream, scenario="class-il", encoder=asked.encoder, standardise=asked.standardise)
    stream = load_stream(config)
    print(markdown_table(HEADINGS, [measured(stream, name, given, asked.seeds) for name, given in SETTINGS]))


if __name__ == "__main__":
    main()
