"""Which scheduler serves which workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cfsweep.errors import InputError
from cfsweep.sweeping import restarts, schedulers
from cfsweep.sweeping.local import LocalScheduler
from cfsweep.sweeping.restarts import NotThereError, SchedulerDiedError
from cfsweep.sweeping.scheduler import Scheduler, Workers
from cfsweep.sweeping.schedulers import on_schedulers, open_scheduler


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
    monkeypatch.setattr(scheduler, "ray_scheduler", lambda workers, work, restarts: asked.append(workers))
    for workers in (Workers(), Workers(1), Workers(None, "auto"), Workers(3, "host:1", 0.5)):
        open_scheduler(workers, lambda: None)
        assert asked[-1] is workers


# ------------------------------------------------------------------------------------------------ that die


class Dying:
    """Schedulers, each of which comes to what is next in `ends`: an error where it is opened (`NotThereError`) or in
    the midst, or nothing, and it goes all the way."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends, self.n_opened = list(ends), 0

    @contextmanager
    def __call__(self, workers: Workers, work: Callable[[], Any], *_: Any) -> Iterator[tuple[Any, Any]]:
        self.n_opened += 1
        end = self.ends.pop(0)
        done = work()
        if type(end) is NotThereError:
            raise end
        yield "scheduler", done
        if end is not None:
            raise end


def died(progressed: bool = False) -> SchedulerDiedError:
    return SchedulerDiedError("Ray has failed", "`cfsweep resume` goes on.", progressed)


GONE = NotThereError("no cluster answers there", "Start one.")


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Dying, list[Any]]]:
    """Sweeps on schedulers that come to these ends; what they were, and what was done."""
    monkeypatch.setattr(restarts, "FIRST_PAUSE_S", 0.001)

    def swept(*ends: Exception | None) -> tuple[Dying, list[Any]]:
        dying, done = Dying(*ends), list[Any]()
        monkeypatch.setattr(schedulers, "open_scheduler", dying)
        result = on_schedulers(Workers(), lambda: done.append("work"), lambda *_: done.append("sweep") or len(done))
        assert result == len(done)
        return dying, done

    return swept


def test_a_sweep_goes_on_with_another_scheduler_and_says_so(
    swept: Callable[..., tuple[Dying, list[Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    dying, done = swept(died(), GONE, died(progressed=True), None)
    assert (dying.n_opened, done) == (4, ["work", "sweep", "sweep", "sweep"]), "what is prepared is prepared once"
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "cfsweep: Ray has failed; goes on by itself in 0.001 s (1 of at most 6 times without progress)"
    assert second.startswith("cfsweep: no cluster answers there; goes on by itself in 0.002 s (2 of")
    assert third.endswith("in 0.001 s (1 of at most 6 times without progress)"), "there was progress"


def test_it_comes_to_an_end_without_progress(swept: Callable[..., tuple[Dying, list[Any]]]) -> None:
    with pytest.raises(SchedulerDiedError, match=r"^Ray has failed\. `cfsweep resume` goes on\.$"):
        swept(*[died() for _ in range(7)], None)
    with pytest.raises(NotThereError):
        swept(died(), *[GONE] * 6, None)
    swept(*[died(progressed=True) for _ in range(20)], None)


def test_what_was_never_there_is_told_at_once(
    swept: Callable[..., tuple[Dying, list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotThereError):
        swept(GONE, None)
    monkeypatch.setenv(restarts.BEFORE, "2")  # this process has taken the place of one whose scheduler died
    swept(GONE, None)
    assert restarts.BEFORE not in os.environ, "whatever it starts has not"


def test_ctrl_c_ends_the_waiting(
    swept: Callable[..., tuple[Dying, list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "FIRST_PAUSE_S", 100.0)
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        swept(died(), None)
