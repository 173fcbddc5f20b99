"""Textbook loops with the modules in them: one model, torch.optim, the batches of a run in a pack."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cfsweep.modules import (
    DistillationLoss,
    EWCPenalty,
    L2SPPenalty,
    MASPenalty,
    PackNetMasks,
    ReservoirBuffer,
    SIPenalty,
)
from cfsweep.modules._penalty import QuadraticPenalty
from cfsweep.modules._saved import Saved
from cfsweep.testing import PlainLoop
from cfsweep.training import batches
from cfsweep.training.engine.randomness import generator
from cfsweep.training.streams import Task

M = TypeVar("M", bound=Saved)


def saved(module: nn.Module) -> Mapping[str, Any]:
    """Its state, once written to a file and read again."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    content: Mapping[str, Any] = torch.load(file, weights_only=True)
    return content


class Loop(PlainLoop, Generic[M]):
    """A loop with a module; `interrupted`: in the midst of each task and after it a fresh one goes on from what was
    saved of the old one."""

    interrupted = False

    def make(self) -> M:
        raise NotImplementedError

    def start(self) -> None:
        self.module = self.make()

    def go_on(self) -> None:
        if self.interrupted:
            state, self.module = saved(self.module), self.make()
            self.module.load_state_dict(state)

    def mask(self, number: int) -> Tensor:
        """(n_outputs,): what is active for a task that is the last one so far."""
        mask = torch.zeros(self.outputs.n_outputs, dtype=torch.bool)
        mask[self.active(number, number + 1)] = True
        return mask

    def examples(self, task: Task) -> tuple[Tensor, Tensor]:
        return self.x[task.train], self.outputs.labels[task.train]

    def consolidate(self, number: int, task: Task) -> None:
        """Shows the module a task that has ended."""

    def end_task(self, number: int, task: Task) -> None:
        self.consolidate(number, task)
        self.go_on()

    def steps(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        for step in super().steps(number, optimizer):
            if step == self.n_steps(number) // 2:
                self.go_on()
            yield step


class Penalised(Loop[QuadraticPenalty]):
    def penalty(self) -> Tensor:
        return self.module.penalty()


class WithEWC(Penalised):
    def make(self) -> QuadraticPenalty:
        v = self.values
        return EWCPenalty(
            self.network,
            float(v["ewc_lambda"]),
            str(v["ewc_mode"]),
            str(v["ewc_fisher"]),
            float(v["ewc_gamma"]),
            int(v["ewc_examples"]),
            self.run.seed,
        )

    def consolidate(self, number: int, task: Task) -> None:
        assert isinstance(self.module, EWCPenalty)
        self.module.consolidate(self.examples(task), self.mask(number))


class WithMAS(Penalised):
    def make(self) -> QuadraticPenalty:
        v = self.values
        return MASPenalty(self.network, float(v["mas_lambda"]), int(v["mas_examples"]), self.run.seed)

    def consolidate(self, number: int, task: Task) -> None:
        assert isinstance(self.module, MASPenalty)
        self.module.consolidate(zip(*(part.split(7) for part in self.examples(task)), strict=True), self.mask(number))


class WithL2SP(Penalised):
    def make(self) -> QuadraticPenalty:
        return L2SPPenalty(self.network, float(self.values["l2_sp_lambda"]))

    def consolidate(self, number: int, task: Task) -> None:
        assert isinstance(self.module, L2SPPenalty)
        self.module.consolidate()


class WithSI(Loop[SIPenalty]):
    def make(self) -> SIPenalty:
        v = self.values
        return SIPenalty(self.network, float(v["si_c"]), float(v["si_damping"]), str(v["si_cut"]))

    def steps(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        for step, batch in enumerate(self.batches_of(number), start=1):
            optimizer.zero_grad()
            self.batch_loss(batch, number + 1).backward()
            self.module.before_step()
            self.module.penalty().backward()
            optimizer.step()
            self.module.after_step()
            if step == self.n_steps(number) // 2:
                self.go_on()
            yield step

    def consolidate(self, number: int, task: Task) -> None:
        self.module.consolidate()


class WithReplay(Loop[ReservoirBuffer]):
    """The examples of the buffer come from the buffer, and take the first places of each batch."""

    def make(self) -> ReservoirBuffer:
        return ReservoirBuffer(int(self.values["replay_buffer"]), self.run.seed, str(self.values["replay_mode"]))

    def consolidate(self, number: int, task: Task) -> None:
        self.module.add_task(*self.examples(task))

    def train_task(self, number: int) -> None:
        examples, optimizer = self.stream.tasks[number].train, self.optimizer()
        size, ratio = int(self.values["batch_size"]), float(self.values["replay_ratio"])
        for epoch in range(int(self.values["epochs"])):
            order = batches.shuffled(self.run, examples, number, epoch)
            rng = generator(self.run.seed, "mix", number, epoch)
            for at in range(0, len(order), size):
                indices = order[at : at + size]
                x, y = self.x[indices], self.outputs.labels[indices]
                if len(self.module):
                    n_old = int(np.floor(ratio * len(indices) + 0.5))
                    old_x, old_y = self.module.get_batch(len(indices), rng)
                    x = torch.cat([old_x[:n_old], x[n_old:]])
                    y = torch.cat([old_y[:n_old], y[n_old:]])
                optimizer.zero_grad()
                self.loss_of(x, y, number).backward()
                optimizer.step()
            self.go_on()

    def loss_of(self, x: Tensor, y: Tensor, number: int) -> Tensor:
        """Among the outputs that are active for an example with this label."""
        own = torch.stack([self.mask(task) for task in range(number + 1)])
        if self.scenario == "task-il":
            active = own[torch.tensor([int(own[:, label].nonzero()[0, 0]) for label in y.tolist()])]
        else:
            active = own[number].expand(len(y), -1)
        return nn.functional.cross_entropy(self.network(x).masked_fill(~active, -torch.inf), y)


class WithPackNet(Loop[PackNetMasks]):
    def make(self) -> PackNetMasks:
        v = self.values
        tasks = [k for k, task in enumerate(self.stream.tasks) for _ in task.classes]
        return PackNetMasks(self.network, tasks, float(v["packnet_rate"]), str(v["packnet_schedule"]))

    def steps(self, number: int, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        n_steps = self.n_steps(number)
        cut_step = round((1 - float(self.values["packnet_retrain_frac"])) * n_steps)
        self.module.train_mode()
        for step, batch in enumerate(self.batches_of(number)):
            if step == cut_step:
                self.module.prune()
                self.go_on()
            optimizer.zero_grad()
            self.batch_loss(batch, number + 1).backward()
            with self.module.hold():
                optimizer.step()
            yield step + 1

    def consolidate(self, number: int, task: Task) -> None:
        self.module.consolidate()

    def accuracies(self, learned: int, part: str = "test") -> list[float]:
        self.network.eval()
        if not learned:
            return super().accuracies(learned, part)
        found = []
        for task in range(len(self.stream.tasks)):
            with self.module.apply_for(task):
                found.append(super().accuracies(learned, part)[task])
        return found


class WithLwF(Loop[DistillationLoss]):
    def make(self) -> DistillationLoss:
        v = self.values
        return DistillationLoss(
            self.network,
            float(v["lwf_temperature"]),
            float(v["lwf_alpha"]),
            self.scenario,
            str(v["lwf_classes"]),
            str(v["lwf_weighting"]),
        )

    def batch_loss(self, indices: Any, learned: int) -> Tensor:
        plain, x = super().batch_loss(indices, learned), self.x[indices]
        own = self.module.loss(x, self.network(x), self.mask(learned - 1))
        return self.module.batch_share() * plain + own

    def consolidate(self, number: int, task: Task) -> None:
        self.module.remember(self.mask(number))
