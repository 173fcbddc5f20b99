"""The scenario: which label an example has, and which outputs may answer it (van de Ven & Tolias 2019).

One wide output layer serves all three scenarios; a scenario is a label map and a mask over the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.training.streams import Stream


@dataclass(frozen=True)
class Outputs:
    """`labels` (n_examples,) int64: the output that is right. `task_of` (n_examples,) int64.

    `masks` (T + 1, T, n_outputs) bool: `masks[t, i]` are the outputs open to an example of task i while task t is
    trained and after it, until task t + 1 starts; `masks[-1]` is for the untrained network.
    """

    n_outputs: int
    labels: Tensor
    task_of: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> Outputs:
        return Outputs(self.n_outputs, self.labels.to(device), self.task_of.to(device), self.masks.to(device))


def outputs_for(stream: Stream, scenario: Scenario) -> Outputs:
    """The label map and the masks of `stream` under `scenario`.

    task-il: an example chooses among the classes of its own task. class-il: among all classes of the tasks trained
    so far (the untrained network: among all). domain-il: the label is the class's place within its task, and every
    output is open.
    """
    n_tasks = len(stream.tasks)
    task_of = torch.full((len(stream.y),), -1, dtype=torch.int64)
    labels = stream.y.clone()
    for number, task in enumerate(stream.tasks):
        for part in (task.train, task.validation, task.test):
            task_of[torch.from_numpy(part)] = number
    if scenario == "domain-il":
        n_outputs = max(len(task.classes) for task in stream.tasks)
        for number, task in enumerate(stream.tasks):
            inside = task_of == number
            for place, label in enumerate(task.classes):
                labels[inside & (stream.y == label)] = place
        masks = torch.ones(n_tasks + 1, n_tasks, n_outputs, dtype=torch.bool)
        return Outputs(n_outputs, labels, task_of, masks)
    own = torch.zeros(n_tasks, stream.n_classes, dtype=torch.bool)
    for number, task in enumerate(stream.tasks):
        own[number, list(task.classes)] = True
    if scenario == "task-il":
        masks = own.expand(n_tasks + 1, -1, -1).clone()
    else:
        seen = own.cumsum(0).bool()
        seen = torch.cat([seen, torch.ones(1, stream.n_classes, dtype=torch.bool)])
        masks = seen[:, None, :].expand(-1, n_tasks, -1).clone()
    return Outputs(stream.n_classes, labels, task_of, masks)


def label_losses(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """The cross-entropy (...,) of each example's label among its open outputs; `logits` and `mask` (..., n_outputs).

    >>> label_losses(torch.zeros(1, 3), torch.tensor([1]), torch.tensor([[True, True, False]]))  # log 2
    tensor([0.6931])
    """
    return -masked_log_softmax(logits, mask).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def label_loss_and_slope(logits: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of `label_losses` over the n examples, (rows,), and its gradient by the logits (rows, n, n_outputs): the
    probabilities less 1 at the label, by n. To the last bit what autograd gives, without its bookkeeping."""
    log_p = masked_log_softmax(logits, mask)
    labels = labels.unsqueeze(-1)
    slope = torch.zeros_like(log_p).scatter_(-1, labels, -1 / logits.shape[-2])
    slope = torch.ops.aten._log_softmax_backward_data(slope, log_p, -1, log_p.dtype)
    return log_p.gather(-1, labels).squeeze(-1).mean(-1).neg_(), slope


def masked_log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (..., n_outputs) over the open outputs; minus infinity at the closed ones."""
    return torch.log_softmax(logits.masked_fill(~mask, -torch.inf), dim=-1)
