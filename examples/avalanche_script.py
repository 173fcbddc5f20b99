"""One task of an Avalanche strategy, as a command: `examples/script_trainer.py` calls it, in Avalanche's environment.

Split digits, 5 tasks of 2 digits, one output layer for all ten. `strategy` is `Naive`, `Replay` or `EWC`: Avalanche's
`Naive` with its plugin of that name. Between two calls the folder `--state` has the weights, and the plugin with all
that it keeps, the replayed examples among it; each task has a fresh optimizer.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of solvers and loggers that nobody uses here
    from avalanche.benchmarks import CLScenario, class_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, ReplayPlugin
    from avalanche.training.supervised import Naive

N_TASKS = 5
PARTS = ("train", "validation", "test")


class Examples(torch.utils.data.TensorDataset):
    """Tensors, with the `targets` that Avalanche wants."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(x, y)
        self.targets = y.tolist()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.tensors[0][index], self.targets[index]


def benchmark() -> CLScenario:
    """The streams `train`, `validation` and `test`: 60, 20 and 20 % of the digits, one experience per task."""
    x, y = load_digits(return_X_y=True)
    part_of = np.random.default_rng(0).choice(len(PARTS), size=len(y), p=(0.6, 0.2, 0.2))
    datasets = {}
    for number, part in enumerate(PARTS):
        here = part_of == number
        examples = Examples(torch.tensor(x[here] / 16, dtype=torch.float32), torch.tensor(y[here]))
        datasets[part] = as_classification_dataset(examples)
    return class_incremental_benchmark(datasets, num_experiences=N_TASKS, class_order=range(10))


def new_plugins(settings: dict[str, Any]) -> list[Any]:
    """The plugin of the strategy that the settings name, which has seen nothing yet."""
    if settings["strategy"] == "Replay":
        return [ReplayPlugin(settings["mem_size"])]
    if settings["strategy"] == "EWC":
        return [EWCPlugin(settings["ewc_lambda"])]
    return []


def strategy_at(task: int, settings: dict[str, Any], file: Path) -> Naive:
    """The strategy as it was after the task before."""
    model = SimpleMLP(num_classes=10, input_size=64, hidden_size=64, drop_rate=0.0)
    plugins = new_plugins(settings)
    if task:
        state = torch.load(file, weights_only=False)
        model.load_state_dict(state["model"])
        plugins = state["plugins"]
    strategy = Naive(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=settings["lr"]),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=settings["epochs"],
        eval_mb_size=1024,
        plugins=plugins,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    )
    strategy.clock.train_exp_counter = task
    return strategy


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("settings", json.loads), ("seed", int), ("task", int), ("state", Path), ("scores", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1000 * given.seed + given.task)
    strategy, here = strategy_at(given.task, given.settings, given.state / "strategy.pt"), benchmark()
    strategy.train(here.train_stream[given.task], reset_optimizer_state=True)
    scores: dict[str, list[float]] = {}
    for part in ("validation", "test"):
        seen = strategy.eval(here.streams[part])
        scores[part] = [value for name, value in sorted(seen.items()) if f"_Exp/eval_phase/{part}_stream/" in name]
        scores[f"n_{part}"] = [len(experience.dataset) for experience in here.streams[part]]
    plugins = [plugin for plugin in strategy.plugins if isinstance(plugin, (ReplayPlugin, EWCPlugin))]
    torch.save({"model": strategy.model.state_dict(), "plugins": plugins}, given.state / "strategy.pt")
    given.scores.write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
