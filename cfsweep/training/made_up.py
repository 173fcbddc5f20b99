"""Examples that a generator makes up beside the mini-batches of one task, new ones in each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from cfsweep.training.engine.randomness import generator
from cfsweep.training.ingredients import Generated, Generator, State
from cfsweep.training.pack_context import PackContext
from cfsweep.training.stack import Stack, over_one_row


@dataclass(frozen=True)
class MadeUp:
    """What `ingredient` makes up in `task`, by the weights `theta` (rows, P), the `state`, and the running `statistics`
    of the network as the task found them, in runs of the `seeds` (rows,).

    A step takes `per_step` examples. They are made an epoch of `steps` steps at a time, when its first one is asked
    for, and kept until another epoch is: one network call in place of many.
    """

    context: PackContext
    ingredient: Generator
    task: int
    seeds: Tensor
    theta: Tensor
    state: State
    values: Mapping[str, Tensor]
    statistics: dict[str, Tensor]
    steps: int
    per_step: int
    _epoch: dict[int, Generated] = field(default_factory=dict)  # the one at hand, by its number

    @staticmethod
    def of(context: PackContext, stack: Stack, ingredient: Generator, task: int, steps: int, per_step: int) -> MadeUp:
        """For the rows of `stack`, whose next step is the first one of `task`."""
        return MadeUp(
            context,
            ingredient,
            task,
            torch.tensor([run.seed for run in stack.representatives]),
            stack.theta.clone(),  # training changes them in place
            {name: value.clone() for name, value in stack.states[ingredient.name].items()},
            stack.values_of(ingredient),
            {name: value.clone() for name, value in context.statistics().items()},
            steps,
            per_step,
        )

    def rows(self, rows: slice | Tensor) -> MadeUp:
        """Those of some rows alone."""
        return replace(
            self,
            seeds=self.seeds[rows if isinstance(rows, slice) else rows.cpu()],
            theta=self.theta[rows],
            state={name: value[rows] for name, value in self.state.items()},
            values={name: value[rows] for name, value in self.values.items()},
            _epoch={},
        )

    def examples(self, step: int) -> Generated:
        """Those of step `step` of the task, counted from 0: x (rows, per_step, *input_shape), and so on."""
        epoch, number = divmod(step, self.steps)
        if epoch not in self._epoch:
            self._epoch.clear()  # before the next is made, so that there is never room for two
            self._epoch[epoch] = self._made(epoch)
        here = slice(number * self.per_step, (number + 1) * self.per_step)
        return Generated(*(part[:, here] for part in self._epoch[epoch]))

    def _made(self, epoch: int) -> Generated:
        """One epoch's examples (rows, steps * per_step, ...), mixed: a generator may give them sorted."""
        with torch.no_grad(), self._as_the_task_found_it():
            by_row = [self._made_for(row, epoch) for row in range(len(self.theta))]
        return Generated(*(torch.cat(parts) for parts in zip(*by_row, strict=True)))

    def _made_for(self, row: int, epoch: int) -> Generated:
        """One row's (1, ...). Row by row, as stacked products of another number of rows may round differently."""
        seed, n = int(self.seeds[row]), self.steps * self.per_step
        # Epoch 0 of the noise is what `consolidate` gets.
        rng = generator(seed, "noise", self.task, 1 + epoch)
        noise = rng.standard_normal((n, self.ingredient.n_codes()), np.float32)
        made: Generated = over_one_row(
            lambda t, s, v, z: self.ingredient.generate(t, s, v, self.task, z),
            self.theta[row : row + 1],
            {name: value[row : row + 1] for name, value in self.state.items()},
            {name: value[row : row + 1] for name, value in self.values.items()},
            torch.from_numpy(noise).unsqueeze(0).to(self.context.device),
        )
        order = torch.from_numpy(generator(seed, "draw", self.task, epoch).permutation(n)).to(self.context.device)
        return Generated(*(part[:, order] for part in made))

    @contextmanager
    def _as_the_task_found_it(self) -> Iterator[None]:
        """Within it a network that trains answers as it did before: with the statistics of then, and drawing nothing
        from the random numbers of training."""
        context = self.context
        now = {name: value.clone() for name, value in context.statistics().items()}
        context.load_statistics(self.statistics)
        context.lifted.module.eval()
        try:
            with torch.random.fork_rng(devices=[], enabled=not context.lifted.liftable):
                yield
        finally:
            context.load_statistics(now)
            context.lifted.train_mode()
