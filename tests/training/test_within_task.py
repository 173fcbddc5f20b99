"""When a run alone is saved in the midst of a task, and what it takes up there beside what every ingredient does."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor

from cfsweep.testing.packs import MLP, make_pack, small_stream
from cfsweep.training import losses
from cfsweep.training.pack import Pack
from cfsweep.training.within_task import Pauses

WITHIN = "cfsweep.training.within_task"


def test_it_pauses_so_long_after_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [100.0], []
    monkeypatch.setattr(f"{WITHIN}.time.monotonic", lambda: now[0])
    pauses = Pauses(lambda: saved.append(now[0]), 10.0)
    for now[0] in (109.0, 110.0, 111.0, 119.5, 121.0, 130.0, 131.0):
        pauses.between_steps()
    assert saved == [110.0, 121.0, 131.0]


def test_a_loss_that_was_not_finite_before_is_told_by_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps that a run has taken before it goes on elsewhere count."""
    loss, stream = losses.Losses.loss_and_gradient, small_stream()

    def at_step_2(self: losses.Losses, *given: object, **more: object) -> Tensor:
        taken.append(1)
        found = loss(self, *given, **more)  # type: ignore[arg-type]
        return found * float("nan") if len(taken) == 2 else found

    taken: list[int] = []
    monkeypatch.setattr(losses.Losses, "loss_and_gradient", at_step_2)
    pack, saved = make_pack(stream, (), network=MLP, batch_size=6), []
    pack.save_every_s = 0.0
    pack.train_next_task(saved.append)
    assert len(saved) >= 2
    again = Pack.restore(saved[-1], stream)
    assert again is not None
    again.train_next_task()
    assert again.records[0].failure == pack.records[0].failure
    assert "the loss was not finite at task 0, step 2 " in str(again.records[0].failure)


def test_it_has_taken_the_seconds_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = small_stream()
    pack, saved, clock = make_pack(stream, (), network=MLP, batch_size=6), [], [0.0]

    def later() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr("cfsweep.training.stack.time.perf_counter", later)
    pack.save_every_s = 0.0
    pack.train_next_task(saved.append)
    seconds = [torch.load(io.BytesIO(one), weights_only=True)["within"]["train_s"] for one in saved]
    assert 0 < seconds[0] < seconds[-1] < pack.records[0].train_s
