"""Which scheduler serves which workers."""

from __future__ import annotations

import pytest

from cfsweep.errors import InputError
from cfsweep.sweeping.local import LocalScheduler
from cfsweep.sweeping.scheduler import Scheduler, Workers
from cfsweep.sweeping.schedulers import open_scheduler


def test_no_workers_are_this_process() -> None:
    with open_scheduler(Workers(0), lambda: "done") as (scheduler, work):
        kept: Scheduler = scheduler
        assert isinstance(kept, LocalScheduler)
        assert work == "done"
        assert not kept.interrupted


def test_this_process_has_no_address() -> None:
    with (
        pytest.raises(
            InputError, match=r"^--workers 0 trains in this process, but got --address auto\. Leave one out\.$"
        ),
        open_scheduler(Workers(0, "auto"), lambda: pytest.fail("nothing is to be done for it")),
    ):
        pass


def test_others_are_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    """(That it is up, and trains: see `ray_backend`.)"""
    from cfsweep.sweeping.ray_backend import scheduler

    asked = []
    monkeypatch.setattr(scheduler, "ray_scheduler", lambda workers, work: asked.append(workers))
    for workers in (Workers(), Workers(1), Workers(None, "auto"), Workers(3, "host:1", 0.5)):
        open_scheduler(workers, lambda: None)
        assert asked[-1] is workers
