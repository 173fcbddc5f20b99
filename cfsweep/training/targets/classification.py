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
from cfsweep.training.targets._base import Outputs, Score, Target, task_of_each
from cfsweep.training.targets._class_weights import output_weights
from cfsweep.training.targets._scores import OF_CLASSES

PLACES = "an output is a class's place within its task, as no two tasks share a class"


def masked_log_softmax(outputs: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (..., n_outputs) over the active outputs; minus infinity at the others."""
    return torch.log_softmax(outputs.masked_fill(~mask, -torch.inf), dim=-1)


class Classification(Target):
    """Labels are (n,) int64, the output that is right; the loss is the cross-entropy among the active outputs, times
    the weight of the label where classes have weights. The likelihood has none.

    task-il: an example chooses among the classes of its own task. class-il: among all classes of the tasks trained so
    far (the untrained network: among all). domain-il: every output is active; tasks that share classes have an output
    for each class, and where no two tasks do (van de Ven & Tolias 2019), an output is a class's place within its task.
    """

    name = "classification"
    summary = "one class per example, by a softmax over the outputs"
    has_classes = True
    scores = OF_CLASSES

    def __init__(self, weights: Tensor | None = None) -> None:
        """`weights` (n_outputs,) multiply the loss of an example whose label is this output; None: 1."""
        self.weights = weights

    def for_stream(self, stream: Stream, outputs: Outputs) -> Target:
        if stream.positive is not None and outputs.meaning == PLACES:
            raise InputError(
                f"stream `{stream.name}`: `positive` must be a class of all tasks, but no two share one. Leave it out."
            )
        weights = output_weights(stream, outputs)
        return self if weights is None else type(self)(weights)

    def outputs(self, stream: Stream, scenario: Scenario) -> Outputs:
        n_tasks = len(stream.tasks)
        if stream.y.dim() != 1:
            raise InputError(
                f"stream `{stream.name}`: a classification needs one class per example, but its labels are amounts."
            )
        task_of, labels = task_of_each(stream), stream.y.clone()
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
        losses = -self.log_likelihood(outputs, labels, mask)
        return losses if self.weights is None else losses * self._weights(labels)

    def _weights(self, labels: Tensor) -> Tensor:
        assert self.weights is not None
        return self.weights.to(labels.device)[labels]

    def loss_and_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient: the probabilities less 1 at the label, by n. To the last bit what autograd gives, without its
        bookkeeping."""
        log_p, labels = masked_log_softmax(outputs, mask), labels.unsqueeze(-1)
        of_labels, gradient = log_p.gather(-1, labels), _gradient(log_p, labels, -1 / outputs.shape[-2])
        if self.weights is not None:
            weights = self._weights(labels)
            of_labels, gradient = of_labels * weights, gradient * weights
        return of_labels.squeeze(-1).mean(-1).neg_(), gradient

    def log_likelihood(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return masked_log_softmax(outputs, mask).gather(-1, labels.unsqueeze(-1)).squeeze(-1)

    def log_likelihood_gradient(self, outputs: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return _gradient(masked_log_softmax(outputs, mask), labels.unsqueeze(-1), 1.0)

    def predict(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """The active output with the largest value."""
        return outputs.masked_fill(~mask, -torch.inf).argmax(-1)

    def probabilities(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Those of the softmax over the active outputs."""
        return masked_log_softmax(outputs, mask).exp()

    def measured(self, score: Score, answers: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Where the score goes by probabilities, -1 is the label of an example whose output is not active."""
        if not score.by_probability:
            return score.of(answers, labels)
        places = torch.where(mask, mask.cumsum(0) - 1, -1)
        answers, labels = answers[..., mask], places[labels]
        is_first = score.positive is not None and score.positive < len(places) and int(places[score.positive]) == 0
        if is_first and answers.shape[-1] == 2:
            return score.of(answers.flip(-1), torch.where(labels < 0, labels, 1 - labels))
        return score.of(answers, labels)

    def constant(self, labels: Tensor, n_outputs: int) -> Tensor:
        """The logarithms of how often each label occurs; minus infinity where it does not.

        >>> Classification().constant(torch.tensor([0, 2, 2]), 3).exp().round()
        tensor([1., 0., 2.])
        """
        return torch.bincount(labels, minlength=n_outputs).to(torch.float32).log()

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
