"""How much of the spread of a study's numbers is the split? `python -m benchmarks.splits` trains each of 6 seeds on
each of 6 splits of split-digits, class-il, and prints the spread over seeds on one split, and over seeds that take
turns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream

N = 6
REMEDIES = ("replay", "ewc")


class Spread(NamedTuple):
    """Standard deviations, each the root of a mean variance: over seeds `within` one split, of all splits; over seeds
    that take `turns` with them, of all ways to begin."""

    within: float
    turns: float


def spread(values: NDArray[np.float64]) -> Spread:
    """Of the values (n, n) by split and seed.

    >>> found = spread(np.array([[0.0, 2.0], [4.0, 6.0]]))  # within: 2 and 2; in turns: (0, 6), (4, 2): 18 and 2
    >>> found == (2**0.5, 10**0.5)
    True
    """
    seeds = np.arange(len(values))
    turns = [values[(seeds + first) % len(values), seeds].var(ddof=1) for first in seeds]
    return Spread(float(np.sqrt(values.var(1, ddof=1).mean())), float(np.sqrt(np.mean(turns))))


def average_accuracies(stream: Stream, name: str, seeds: int) -> NDArray[np.float64]:
    """(2, splits, seeds): the average accuracy after the last task, on validation and on test data, of a remedy with
    its defaults."""
    values = {key: hyper.default for key, hyper in hypers_of((name,)).items()}
    runs = tuple(RunSpec(0, seed, values) for seed in range(seeds))
    found = []
    for number in range(1 + len(stream.other_splits)):
        pack = Pack(PackSpec(NetworkConfig(), "class-il", (name,), runs), stream.of_split(number))
        while not pack.done:
            pack.train_next_task()
        found.append([[np.mean(scores[-1]) for scores in (r.validation, r.test)] for r in pack.records])
    return np.moveaxis(np.array(found), -1, 0)


def main() -> None:
    """Prints a line for each remedy and part."""
    torch.set_num_threads(1)
    stream = load_stream(StreamConfig(splits=N))
    for name in REMEDIES:
        for part, values in zip(("validation", "test"), average_accuracies(stream, name, N), strict=True):
            within, turns = spread(values)
            print(f"{name}, {part}: mean {values.mean():.4f}, sd on one split {within:.4f}, in turns {turns:.4f}")


if __name__ == "__main__":
    main()
