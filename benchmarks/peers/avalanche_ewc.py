"""The same run with Avalanche 0.6: its EWC, its multi-head output layer, its loaders and its evaluation.

Avalanche's penalty is λ'·Σ F' (θ − θ*)², without the ½, so λ' = λ/2. Its F' is the mean over mini-batches of *all*
training examples of the squared gradient of the *batch's mean* loss, which is another quantity than the Fisher diagonal
and no fixed multiple of it; `ExampleEWC` hands it a sample of examples in batches of one, which is the diagonal itself.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.job import Job, Record, TaskData, mixed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of solvers and loggers that nobody uses here
    from avalanche.benchmarks import (
        CLScenario,
        benchmark_from_datasets,
        task_incremental_benchmark,
        with_classes_timeline,
    )
    from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import MultiHeadClassifier, MultiTaskModule
    from avalanche.training.plugins import EvaluationPlugin, EWCPlugin
    from avalanche.training.supervised import Naive


class MLP(MultiTaskModule):
    """Avalanche's `MTSimpleMLP` with any number of layers and without dropout: one head per task."""

    def __init__(self, n_inputs: int, hidden: Sequence[int], classes_per_task: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(n_inputs, width), nn.ReLU()]
            n_inputs = width
        self.features = nn.Sequential(*layers)
        self.classifier = MultiHeadClassifier(n_inputs, initial_out_features=classes_per_task, masking=False)

    def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
        return self.classifier(self.features(x), task_labels)


class Examples(torch.utils.data.TensorDataset):
    """Tensors, with the `targets` that Avalanche wants, and labels that are whole numbers."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__(x, y)
        self.targets = y.tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tensors[0][index], self.targets[index]


class ExampleEWC(EWCPlugin):
    """Avalanche's EWC with one running anchor, whose Fisher is that of `n_examples` single examples of each task."""

    def __init__(self, strength: float, n_examples: int) -> None:
        super().__init__(strength, mode="online", decay_factor=1.0)
        self.n_examples = n_examples
        self.seconds = 0.0

    def compute_importances(
        self,
        model: Any,
        criterion: Any,
        optimizer: Any,
        dataset: AvalancheDataset,
        device: Any,
        batch_size: int,
        num_workers: int = 0,
    ) -> Any:
        started = time.perf_counter()
        chosen = torch.randperm(len(dataset))[: self.n_examples].tolist()
        found = super().compute_importances(model, criterion, optimizer, dataset.subset(chosen), device, 1, num_workers)
        self.seconds += time.perf_counter() - started
        return found


def scenario(tasks: Sequence[TaskData]) -> CLScenario:
    """The streams `train` and `validation`, one experience per task, with task labels."""
    streams = {
        part: [as_classification_dataset(Examples(*map(torch.from_numpy, task[part]))) for task in tasks]
        for part in tasks[0]
    }
    return with_classes_timeline(task_incremental_benchmark(benchmark_from_datasets(**streams)))


def run(tasks: Sequence[TaskData], ewc_lambda: float, seed: int, job: Job) -> Record:
    """As `benchmarks.peers.textbook.run`."""
    torch.manual_seed(seed)
    began, train_s = time.time(), 0.0
    benchmark = scenario(tasks)
    model = MLP(tasks[0]["train"][0].shape[1], job.hidden, job.classes_per_task)
    ewc = ExampleEWC(ewc_lambda / 2, job.ewc_examples)
    strategy = Naive(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=job.lr),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=job.batch_size,
        train_epochs=job.epochs,
        eval_mb_size=1024,
        plugins=[ewc],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    )
    matrix: list[list[float]] = []
    for task, experience in enumerate(benchmark.train_stream):
        started = time.perf_counter()
        strategy.train(experience, reset_optimizer_state=True)  # as all peers do; by default its moments go on
        train_s += time.perf_counter() - started
        seen = strategy.eval(benchmark.streams["validation"][: task + 1])
        row = [value for name, value in sorted(seen.items()) if name.startswith("Top1_Acc_Exp/")]
        matrix.append(row[: task + 1] + [0.0] * (len(tasks) - task - 1))
    return Record(ewc_lambda, seed, mixed(matrix), matrix, train_s, ewc.seconds, began, time.time())
