"""Averaged gradient episodic memory with its authors' buffer: a ring for each class of each task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cfsweep.hypers import Hyper
from cfsweep.training.ingredients._arguments import Buffer
from cfsweep.training.ingredients._base import Indices
from cfsweep.training.ingredients._buffer import latest_of_each_class
from cfsweep.training.ingredients.a_gem import AGem


class AGemOnline(AGem):
    """The projection of `a-gem` on gradients of a buffer that examples enter as they come.

    Of M places each of the T tasks has M/T, and each of its classes an equal part of these: a ring, which ends with the
    latest examples of the last epoch. As only finished tasks are drawn from, nobody reads a ring before it has ended,
    and it is written then, from the order of the epoch; so runs with other buffers share their first task.

    The ring is the authors' code. Their algorithm draws a task's M/T examples at random once it has ended: in random
    order, the latest ones are that too, but for the classes' equal parts.

    Departures: those of `a-gem` but the first one. Draws are with replacement, where the code draws distinct examples.
    A ring that is larger than its class holds each example of it once; in the code, after several epochs, it would hold
    copies. Where a stop rule ends a task, or others mix examples into its batches, the ring is as it were without.

    References:
        Chaudhry et al. 2019 (ICLR; arXiv 1812.00420), eq. 10 and 11, and the appendix's UpdateEpsMem (|M|/T examples
        of each task).
    """

    name = "a-gem-online"
    summary = "as a-gem, with an equal share of the buffer for each task, of the examples that came last"
    hypers = (Hyper("a_gem_online_buffer", "int", 500, "examples kept", low=0, off=0, takes_effect="later"),)
    as_they_come = True

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        share = int(values["a_gem_online_buffer"]) // self.context.n_tasks
        latest = latest_of_each_class(examples, self.context.classes, share)
        return Buffer(np.concatenate([buffer.indices, latest]), buffer.offered + len(examples))
