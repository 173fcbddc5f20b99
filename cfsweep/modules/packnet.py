"""PackNet for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from cfsweep.bundle.continued import Opened
from cfsweep.errors import InputError
from cfsweep.modules._kept import known_network, require_same, state_in
from cfsweep.modules._model import OneModel, without_stream
from cfsweep.modules._saved import Saved, counted, require_fit
from cfsweep.modules._values import numbers_of, static_of
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.engine.named_state import from_named, to_named
from cfsweep.training.ingredients import Values
from cfsweep.training.ingredients.packnet import FREE, PackNet


class Capacity(NamedTuple):
    """How many of the prunable weights belong to `task`, and their share of all; task None: those still free."""

    task: int | None
    n_weights: int
    frac: float


class PackNetMasks(Saved):
    """Which weights of `model` belong to which task: the ingredient `packnet` for one model.

    `output_tasks` says of each output which task it belongs to, from 0. `rate` is the share of the free weights that a
    task gives up to later ones, in (0, 1); with the schedule `equal` all tasks get the same share, whatever the rate.
    Within each task:

        masks.train_mode()                 # in place of model.train(): batch statistics are those of the first task
        loss.backward()
        with masks.hold():                 # the step moves what the task may move, and nothing else
            optimizer.step()

    with `prune()` once, after some two thirds of the steps, and `consolidate()` at the end. `apply_for(task)` answers
    with the weights of a task. Biases and norms belong to the first one.

    Raises:
        InputError: a value is not legal; the model has no output layer, or nothing to train, or its output layer shares
            its weight with another one.

    References:
        Mallya & Lazebnik 2018 (arXiv 1711.05769), sections 3 and 4; see the ingredient.

    >>> model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 2))
    >>> masks = PackNetMasks(model, output_tasks=[0, 1], rate=0.5)
    >>> masks.prune()
    >>> masks.consolidate()
    >>> masks.capacity_report()
    [Capacity(task=0, n_weights=4, frac=0.5), Capacity(task=1, n_weights=0, frac=0.0), \
Capacity(task=None, n_weights=4, frac=0.5)]
    """

    kind = PackNet

    def __init__(
        self, model: nn.Module, output_tasks: Sequence[int], rate: float = 0.5, schedule: str = "constant"
    ) -> None:
        super().__init__({"rate": ("packnet_rate", rate), "schedule": ("packnet_schedule", schedule)})
        if self.values["packnet_rate"] == 0:
            raise InputError(f"{self.where}: `0 < rate < 1` must hold, but got rate=0. Leave the masks away instead.")
        self.one = OneModel(model, self.where)  # not a module: its parameters are the user's, not ours
        self._require_own_head()
        self.n_tasks = _n_tasks(output_tasks, self.one.n_outputs, self.where)
        tasks = tuple(int(task) for task in output_tasks)
        masks = torch.tensor(tasks) == torch.arange(self.n_tasks).unsqueeze(1)
        outputs = without_stream(masks.expand(self.n_tasks + 1, -1, -1))
        settings = static_of(PackNet, self.values)
        self.ingredient = PackNet(self.one.context(outputs, "task-il", self.n_tasks, tasks), settings)
        self.state = self.ingredient.initial_state(self.one.theta().detach())
        self.tasks_ended, self.is_pruned = 0, False

    # ------------------------------------------------------------------ within a task

    def train_mode(self) -> None:
        """Has the model train, as `model.train()` does; from the second task on batch norms keep to the statistics of
        the first."""
        lifted = Lifted(self.one.model, False, self.one.layout.head)
        lifted.holds_statistics = self.tasks_ended > 0
        lifted.train_mode()

    def trainable(self) -> Tensor:
        """(P,) bool: which weights, in the order of the layout, may move now.

        Raises:
            InputError: all tasks have ended.
        """
        self._require_task()
        return self.ingredient.trainable(self._state(), self._numbers(), self.tasks_ended, self.is_pruned)

    def freeze_gradients(self) -> None:
        """Sets the gradients of the weights that may not move to zero, as whoever clips them wants to see. `hold` does
        so too.

        Raises:
            InputError: all tasks have ended, or a batch norm is about to change its statistics.
        """
        self._freeze()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Where a step of an optimizer moves what the task may move: afterwards all other weights are what they were,
        to the last bit, whatever its momentum and decay.

        Raises:
            InputError: as `freeze_gradients`.
        """
        kept = [(p, moves, p.detach().clone()) for p, moves in self._freeze()]
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, moves, before in kept:
                    parameter.copy_(torch.where(moves, parameter, before))

    def prune(self) -> None:
        """The cut: the largest of the free weights of each layer become the task's own, the others zero until the next
        task begins.

        Raises:
            InputError: the task has been cut already, or all tasks have ended.
        """
        self._require_task()
        if self.is_pruned:
            raise InputError(
                f"{self.where}: each task is cut once, but `prune` came twice in task {self.tasks_ended}. Call "
                "`consolidate` at the end of a task."
            )
        theta = self.one.theta().detach()
        theta, self.state = self.ingredient.cut(theta, self._state(), self._numbers(), self.tasks_ended)
        self.one.write(theta)
        self.is_pruned = True

    def consolidate(self) -> None:
        """Ends the task: its weights stay as they are from now on.

        Raises:
            InputError: it was not cut.
        """
        self._require_task()
        if not self.is_pruned:
            raise InputError(
                f"{self.where}: a task must be cut before it ends, but task {self.tasks_ended} was not. Call `prune` "
                "after some two thirds of its steps."
            )
        self.tasks_ended, self.is_pruned = self.tasks_ended + 1, False

    # ------------------------------------------------------------------ between tasks

    @contextmanager
    def apply_for(self, task: int) -> Iterator[None]:
        """Where the model has the weights of a `task` that has ended: its own and those of the tasks before it; for one
        that has not, those of now. Afterwards it has those that it had.

        Raises:
            InputError: there is no such task.
        """
        if not 0 <= task < self.n_tasks:
            raise InputError(f"{self.where}: `0 <= task < {self.n_tasks}` must hold, but got task={task}.")
        before = self.one.theta().detach()
        if task < self.tasks_ended:
            self.one.write(self.ingredient.weights_for(before, self._state(), self._numbers(), task))
        try:
            yield
        finally:
            self.one.write(before)

    def capacity_report(self) -> list[Capacity]:
        """What of the prunable weights each task has, and what is free, as they are now."""
        entries = [entry for entry in self.one.layout.entries if entry.prunable]
        owner = torch.cat([self.state["owner"][entry.where] for entry in entries])
        counts = {task: int((owner == task).sum()) for task in (*range(self.n_tasks), FREE)}
        return [Capacity(None if task == FREE else task, n, n / len(owner)) for task, n in counts.items()]

    def contents(self) -> dict[str, Tensor]:
        counts = {"tasks_ended": counted(self.tasks_ended), "is_pruned": counted(self.is_pruned)}
        return {**to_named(self.one.layout, self.state), **counts}

    def take(self, contents: Mapping[str, Tensor]) -> None:
        fitting = require_fit(self.where, contents, self.contents())
        self.tasks_ended, self.is_pruned = int(fitting.pop("tasks_ended")), bool(fitting.pop("is_pruned"))
        self.state = from_named(self.one.layout, fitting)

    def take_kept(self, start: Opened) -> None:
        own = start.answers["masks"].int().argmax(0).tolist()  # in task-il each output is active for one task
        given = list(self.ingredient.context.output_tasks[: len(own)])
        require_same(self.where, f"output_tasks[:{len(own)}]", given, own, start.bundle)
        _, grown = known_network(self.one, start)
        begun = self.ingredient.initial_state(self.one.theta().detach().cpu())
        self.state = state_in(self.remedy, start, grown, begun)
        self.tasks_ended, self.is_pruned = len(start.about.tasks), False

    # ------------------------------------------------------------------ inside

    def _freeze(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Each parameter, with which of its weights may move (*shape) bool; the gradients of the others become zero."""
        by_name = self.one.layout.unflatten(self.trainable())
        self._require_held_statistics()
        free = [(parameter, by_name[name]) for name, parameter in self.one.trained().items()]
        for parameter, moves in free:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(~moves, 0.0)
        return free

    def _numbers(self) -> Values:
        return numbers_of(PackNet, self.values, self.one.device)

    def _state(self) -> dict[str, Tensor]:
        """That on the device of the model."""
        self.state = {name: value.to(self.one.device) for name, value in self.state.items()}
        return self.state

    def _require_task(self) -> None:
        if self.tasks_ended == self.n_tasks:
            raise InputError(
                f"{self.where}: the outputs belong to {self.n_tasks} tasks, and all of them have ended. Give "
                "`output_tasks` more tasks from the start."
            )

    def _require_own_head(self) -> None:
        head = self.one.layout.head
        weight = f"{head}.weight"
        own = {name for name, _ in self.one.model.named_parameters()}
        if weight not in own:
            raise InputError(
                f"{self.where}: each output's weights must be its own, but `{weight}` is shared with another layer. "
                "Untie them."
            )

    def _require_held_statistics(self) -> None:
        """That no batch norm takes in what later tasks look like: the answers of the first task would change."""
        for name, part in self.one.model.named_modules():
            if self.tasks_ended and isinstance(part, _NormBase) and part.training and part.running_mean is not None:
                raise InputError(
                    f"{self.where}: from the second task on statistics must stay those of the first, but `{name}` is "
                    "in training mode. Call `masks.train_mode()` in place of `model.train()`."
                )


def _n_tasks(output_tasks: Sequence[int], n_outputs: int, where: str) -> int:
    """How many tasks the outputs belong to.

    Raises:
        InputError: they are not numbered from 0 without a gap, or not one for each output.
    """
    tasks = sorted({int(task) for task in output_tasks})
    if len(output_tasks) != n_outputs or tasks != list(range(len(tasks))):
        raise InputError(
            f"{where}: `output_tasks` must give each of the {n_outputs} outputs a task, from 0 without a gap, but got "
            f"{list(output_tasks)}. Give as many as there are outputs."
        )
    return len(tasks)
