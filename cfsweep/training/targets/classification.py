"""One class per example, by a softmax over the active outputs.

The scenario is a label map and a mask over the outputs (van de Ven & Tolias 2019); one wide output layer serves all
three.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.training.streams import Indices, Stream
from cfsweep.training.targets._base import Floats, Outputs, Score, Target

PLACES = "an output is a class's place within its task, as no two tasks share a class"


def accuracy(predictions: Tensor, labels: Tensor) -> Tensor:
    """The share (rows,) float64 of the n predictions (rows, n) that are the labels (n,).

    >>> accuracy(torch.tensor([[1, 0], [1, 2]]), torch.tensor([1, 0]))
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    return (predictions == labels).sum(1).double() / labels.shape[-1]


def accuracy_variance(values: Floats, n_examples: Floats) -> Floats:
    """That of the share of right answers among `n_examples` independent ones: p (1 - p) / n."""
    return values * (1 - values) / n_examples


def masked_log_softmax(outputs: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (..., n_outputs) over the active outputs; minus infinity at the others."""
    return torch.log_softmax(outputs.masked_fill(~mask, -torch.inf), dim=-1)


class Classification(Target):
    """Labels are (n,) int64, the output that is right; the loss is the cross-entropy among the active outputs.

    task-il: an example chooses among the classes of its own task. class-il: among all classes of the tasks trained so
    far (the untrained network: among all). domain-il: every output is active; tasks that share classes have an output
    for each class, and where no two tasks do (van de Ven & Tolias 2019), an output is a class's place within its task.
    """

    name = "classification"
    summary = "one class per example, by a softmax over the outputs; scored by accuracy"
    has_classes = True
    scores = (Score("accuracy", accuracy, (0.0, 1.0), variance=accuracy_variance),)

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        n_tasks = len(stream.tasks)
        task_of = torch.full((len(stream.y),), -1, dtype=torch.int64)
        labels = stream.y.clone()
        for number, task in enumerate(stream.tasks):
            for part in task.parts.values():
                task_of[torch.from_numpy(part)] = number
        if scenario == "domain-il":
            n_outputs, meaning = stream.n_classes, "an output is a class, which tasks share"
            if not _tasks_share_classes(stream):
                n_outputs, meaning = max(len(task.classes) for task in stream.tasks), PLACES
                for number, task in enumerate(stream.tasks):
                    inside = task_of == number
                    for place, label in enumerate(task.classes):
                        labels[inside & (stream.y == label)] = place
            masks = torch.ones(n_tasks + 1, n_tasks, n_outputs, dtype=torch.bool)
            return Outputs(n_outputs, labels, task_of, masks, meaning)
        own = torch.zeros(n_tasks, stream.n_classes, dtype=torch.bool)
        for number, task in enumerate(stream.tasks):
            own[number, list(task.classes)] = True
        if scenario == "task-il":
            masks = own.expand(n_tasks + 1, -1, -1).clone()
        else:
            seen = own.cumsum(0).bool()
            seen = torch.cat([seen, torch.ones(1, stream.n_classes, dtype=torch.bool)])
            masks = seen[:, None, :].expand(-1, n_tasks, -1).clone()
        return Outputs(stream.n_classes, labels, task_of, masks, "an output is a class")

    def classes(self, stream: Stream) -> Indices:
        found: Indices = stream.y.numpy()
        return found

    def losses(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """
        >>> mask = torch.tensor([[True, True, False]])
        >>> Classification().losses(torch.zeros(1, 3), torch.tensor([1]), mask)  # log 2
        tensor([0.6931])
        """
        return -self.log_likelihood(outputs, labels, mask)

    def loss_and_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient: the probabilities less 1 at the label, by n. To the last bit what autograd gives, without its
        bookkeeping."""
        log_p, labels = masked_log_softmax(outputs, mask), labels.unsqueeze(-1)
        loss = log_p.gather(-1, labels).squeeze(-1).mean(-1).neg_()
        return loss, _gradient(log_p, labels, -1 / outputs.shape[-2])

    def log_likelihood(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return masked_log_softmax(outputs, mask).gather(-1, labels.unsqueeze(-1)).squeeze(-1)

    def log_likelihood_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return _gradient(masked_log_softmax(outputs, mask), labels.unsqueeze(-1), 1.0)

    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """The active output with the largest value."""
        return outputs.masked_fill(~mask, -torch.inf).argmax(-1)

    def sample(self, outputs: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
        """By inverse transform: the first output whose cumulated probability exceeds the uniform number. Rounding can
        leave the total just under it; the most probable output answers then, never one that is not active."""
        log_p = masked_log_softmax(outputs, mask)
        beyond = log_p.exp().cumsum(-1) > uniform.unsqueeze(-1)
        return torch.where(beyond.any(-1), beyond.to(torch.int8).argmax(-1), log_p.argmax(-1))


def _tasks_share_classes(stream: Stream) -> bool:
    """Whether the tasks are about the same classes: each is tied to each other one by classes that they share, perhaps
    with tasks between them. False: no two share one.

    Raises:
        InputError: some do, and others stand apart, so that nobody can say what an output means.
    """
    first, *others = stream.tasks
    tied, left = set(first.classes), {number: set(task.classes) for number, task in enumerate(others, start=1)}
    while near := [number for number, classes in left.items() if tied & classes]:
        tied.update(*(left.pop(number) for number in near))
    if not left:
        return len(stream.tasks) > 1
    counts = Counter(label for task in stream.tasks for label in task.classes)
    shared = [label for label, n in counts.items() if n > 1]
    if not shared:
        return False
    label, names = shared[0], stream.class_ids
    raise InputError(
        f"stream `{stream.name}`: in domain-il either all tasks share classes or no two do, but some share class "
        f"{names[label] if names else label}, and task `{stream.tasks[min(left)].name}` has none of the classes of "
        f"task `{first.name}`. Give the classes of each task the same labels if they mean the same, or labels of "
        "their own."
    )


def _gradient(log_p: Tensor, labels: Tensor, weight: float) -> Tensor:
    """That of `weight` times the sum of the log-probabilities `log_p` (..., n, n_outputs) at the labels (..., n, 1), by
    the outputs they come from."""
    by_log_p = torch.zeros_like(log_p).scatter(-1, labels, weight)
    gradient: Tensor = torch.ops.aten._log_softmax_backward_data(by_log_p, log_p, -1, log_p.dtype)
    return gradient
