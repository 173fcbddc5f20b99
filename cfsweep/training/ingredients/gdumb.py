"""GDumb: nothing is learned from the stream but what to keep; the network is trained on that alone, each time anew."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer
from cfsweep.training.ingredients._base import Indices, State, Values
from cfsweep.training.ingredients._buffer import greedily_balanced, passes
from cfsweep.training.ingredients._pieces import MixedReplay, TaskStart

RESET = "before each task gdumb sets all weights back to the initial ones"
FILLS = "gdumb fills the mini-batches with its own buffer"


class GDumb(MixedReplay, TaskStart):
    """Before each task the weights go back to the run's initial ones, and all examples of its batches are of the
    buffer, which already holds what it will hold at the end of the task. That is so in the first task too.

    A task has as many steps as without it, whatever the size of the buffer, so that it computes as much as any other
    run: each epoch makes shuffled passes over the buffer until it is as long as the task, and the last one is cut
    short. The examples of a task are offered to the buffer once each, in random order. What must be stored is the
    buffer; the initial weights are those of the seed.

    Departures: the learner has the settings of the trial. The paper's has SGD with batches of 16, 256 passes, a rate of
    0.05 that falls along a cosine to 0.0005 with restarts, and cutmix; `cosine` has the cosine, without restarts, and
    there is no cutmix here. The paper asks for an answer at the end; here there is one after each task. Running
    statistics (batch norm's) go on from task to task, and the optimizer's state if it is kept.

    References:
        Prabhu, Torr & Dokania 2020 (ECCV), algorithm 1 (the sampler) and section 3 (the learner).
    """

    name = "gdumb"
    summary = "trains from scratch for each task, on a class-balanced buffer alone"
    paper = "Prabhu, Torr & Dokania 2020, ECCV"
    hypers = (Hyper("gdumb_buffer", "int", 500, "examples kept", low=0, off=0),)
    excludes = {
        "replay": FILLS,
        "icarl": FILLS,
        "si": f"{RESET}, so the way through a task has no beginning",
        "packnet": f"{RESET}, those that packnet holds too",
        "adapters": f"{RESET}, those that adapters hold too",
        "freeze": f"{RESET}, those that freeze holds too",
    }
    holds_current_task = True
    as_they_come = True

    def initial_state(self, theta: Tensor) -> State:
        return {"initial": theta.clone()}

    def kept(self, state: State) -> State:
        """Nothing: the initial weights can be drawn again from the seed."""
        return {}

    def start_task(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        return torch.where(values["gdumb_buffer"] > 0, state["initial"], theta), state

    def mix_in(
        self, order: Indices, batch_size: int, buffer: Buffer, values: Mapping[str, float], rng: np.random.Generator
    ) -> Indices:
        return passes(len(order), buffer, rng) if len(buffer.indices) else order

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        return greedily_balanced(buffer, examples, self.context.classes, int(values["gdumb_buffer"]), rng)
