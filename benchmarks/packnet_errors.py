"""What PackNet loses when it masks or retrains wrongly.

Mistakes are easy to make when PackNet is written around a training loop, and none of them raises an error:

- *own weights only*: task k is evaluated with the weights that it took itself, without those of tasks 0..k-1, on
  which it was trained;
- *all weights*: a task is evaluated with all weights, those of later tasks included;
- *old weights move*: the masks cut, but the optimizer still moves the weights of old tasks;
- *cut weights move*: after the cut the optimizer still moves the weights that were set to zero, and what it moved them
  to is kept; the next task begins on them.

Run: `python -m benchmarks.packnet_errors --data DIR`. It prints the final average test accuracy of each variant on
split-mnist, task-il, and the number of test predictions on old tasks that changed after their task was frozen.
"""

from __future__ import annotations

import argparse
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.training.ingredients import State, Values, hypers_of, registry
from cfsweep.training.ingredients.packnet import FREE, PackNet
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec, score_rows
from cfsweep.training.streams import Stream, load_stream


class OwnWeightsOnly(PackNet):
    """A task is evaluated without the weights of the tasks before it (biases and norms are everyone's)."""

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        shared = torch.ones_like(theta, dtype=torch.bool)
        for entry in self.context.layout.entries:
            if entry.prunable:
                shared[entry.where] = False
        return torch.where((state["owner"] == task) | shared, theta, 0.0)


class AllWeights(PackNet):
    """Every task is evaluated with all weights."""

    def weights_for(self, theta: Tensor, state: State, values: Values, task: int) -> Tensor:
        return theta


class OldWeightsMove(PackNet):
    """Nothing is frozen; weights that were cut stay zero while their task is retrained."""

    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        return (state["owner"] <= task) | ((state["owner"] == FREE) & (not after_cut))


class CutWeightsMove(PackNet):
    """The weights that were cut move on during retraining."""

    def trainable(self, state: State, values: Values, task: int, after_cut: bool) -> Tensor:
        return (state["owner"] == task) | (state["owner"] == FREE)


VARIANTS: dict[str, type[PackNet]] = {
    "as in the paper": PackNet,
    "own weights only": OwnWeightsOnly,
    "all weights": AllWeights,
    "old weights move": OldWeightsMove,
    "cut weights move": CutWeightsMove,
}


def measure(
    kind: type[PackNet], stream: Stream, seeds: int, rate: float, hidden: list[int]
) -> tuple[float, float, int]:
    """Final average test accuracy (mean and sd over seeds), and how many frozen test predictions changed."""
    with mock.patch.dict(registry, {"packnet": kind}):
        values = {name: hyper.default for name, hyper in hypers_of(("packnet",)).items()}
        runs = tuple(RunSpec(0, seed, {**values, "packnet_rate": rate}) for seed in range(seeds))
        pack = Pack(PackSpec(NetworkConfig(args={"hidden": hidden}), "task-il", ("packnet",), runs), stream)
        frozen: list[Tensor] = []
        changed = 0
        while not pack.done:
            report = pack.train_next_task()
            changed += sum(int((pack.predictions(task) != was).sum()) for task, was in enumerate(frozen))
            frozen = [pack.predictions(task) for task in range(report.task + 1)]
    finals = [score_rows(record.test, len(stream.tasks))[-1].mean() for record in report.records]
    return float(np.mean(finals)), float(np.std(finals)), changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="where MNIST lies (default: $CFSWEEP_DATA)")
    parser.add_argument("--stream", default="split-mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    options = parser.parse_args()
    torch.set_num_threads(1)
    stream = load_stream(StreamConfig(name=options.stream, data=options.data))
    table = Table("variant", "average accuracy", "frozen predictions changed")
    for name, kind in VARIANTS.items():
        mean, sd, changed = measure(kind, stream, options.seeds, options.rate, options.hidden)
        table.add_row(name, f"{mean:.4f} ± {sd:.4f}", str(changed))
    console = Console()
    console.print(f"{options.stream}, task-il, mlp {options.hidden}, rate {options.rate}, {options.seeds} seeds")
    console.print(table)


if __name__ == "__main__":
    main()
