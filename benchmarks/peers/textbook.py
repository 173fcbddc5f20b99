"""Online EWC on a stream of tasks as a competent researcher writes it: plain PyTorch, one network, one run.

No cfsweep in here. Batches come from a DataLoader over tensors, the optimizer is torch's Adam as it comes, the Fisher
diagonal is a loop over examples. Where a choice costs time and none is customary, the faster one is taken: the data is
in memory and normalised beforehand, accuracy is measured on a whole split at once, and only on tasks already seen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.job import Job, Record, TaskData, mixed

Weights = dict[str, Tensor]


class MLP(nn.Module):
    """One output layer for all tasks; `forward(x, task)` gives the outputs of that task's classes alone."""

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_tasks: int, classes_per_task: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(n_inputs, width), nn.ReLU()]
            n_inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(n_inputs, n_tasks * classes_per_task)
        self.classes_per_task = classes_per_task

    def forward(self, x: Tensor, task: int) -> Tensor:
        first = task * self.classes_per_task
        return self.head(self.body(x))[:, first : first + self.classes_per_task]


class EWC:
    """Penalty ½·λ·Σ F (θ − θ*)², with F the sum of the tasks' Fisher diagonals and θ* the latest weights."""

    def __init__(self, model: nn.Module, strength: float, n_examples: int) -> None:
        self.model, self.strength, self.n_examples = model, strength, n_examples
        self.fisher: Weights = {}
        self.anchor: Weights = {}
        self.seconds = 0.0

    def penalty(self) -> Tensor | float:
        if not self.fisher:
            return 0.0
        total = sum(
            (self.fisher[name] * (p - self.anchor[name]).pow(2)).sum() for name, p in self.model.named_parameters()
        )
        return self.strength / 2 * total

    def end_task(self, dataset: TensorDataset, task: int) -> None:
        """Adds the mean over examples of the squared gradient of log p(y | x), y the label in the data."""
        started = time.perf_counter()
        fisher = {name: torch.zeros_like(p) for name, p in self.model.named_parameters()}
        examples = torch.randperm(len(dataset))[: self.n_examples].tolist()
        self.model.eval()
        for i in examples:
            x, y = dataset[i]
            self.model.zero_grad()
            cross_entropy(self.model(x.unsqueeze(0), task), y.unsqueeze(0)).backward()
            for name, p in self.model.named_parameters():
                fisher[name] += p.grad.detach().pow(2) / len(examples)
        self.model.zero_grad()
        for name, p in self.model.named_parameters():
            self.fisher[name] = self.fisher[name] + fisher[name] if name in self.fisher else fisher[name]
            self.anchor[name] = p.detach().clone()
        self.seconds += time.perf_counter() - started


def train_task(model: MLP, ewc: EWC, dataset: TensorDataset, task: int, job: Job) -> None:
    """One task, with an optimizer of its own."""
    loader = DataLoader(dataset, batch_size=job.batch_size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=job.lr)
    model.train()
    for _ in range(job.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(model(x, task), y) + ewc.penalty()
            loss.backward()
            optimizer.step()
    ewc.end_task(dataset, task)


@torch.no_grad()
def accuracy(model: MLP, x: Tensor, y: Tensor, task: int) -> float:
    model.eval()
    return (model(x, task).argmax(1) == y).float().mean().item()


def run(tasks: Sequence[TaskData], ewc_lambda: float, seed: int, job: Job) -> Record:
    """Trains on the tasks one after another; what came out, and how long it took."""
    torch.manual_seed(seed)
    began, train_s = time.time(), 0.0
    data = [{part: tuple(map(torch.from_numpy, arrays)) for part, arrays in task.items()} for task in tasks]
    model = MLP(data[0]["train"][0].shape[1], job.hidden, len(tasks), job.classes_per_task)
    ewc = EWC(model, ewc_lambda, job.ewc_examples)
    matrix: list[list[float]] = []
    for task in range(len(tasks)):
        started = time.perf_counter()
        train_task(model, ewc, TensorDataset(*data[task]["train"]), task, job)
        train_s += time.perf_counter() - started
        seen = [accuracy(model, *data[i]["validation"], i) for i in range(task + 1)]
        matrix.append(seen + [0.0] * (len(tasks) - task - 1))
    return Record(ewc_lambda, seed, mixed(matrix), matrix, train_s, ewc.seconds, began, time.time())
