"""What passes between Ray Tune and the driver; neither is there."""

from __future__ import annotations

import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from cfsweep.sweeping.ray_backend import searcher as searcher_module
from cfsweep.sweeping.ray_backend.searcher import PackSearcher, StopOnInterrupt
from cfsweep.sweeping.ray_backend.trainable import to_tune
from cfsweep.sweeping.worker import TaskResult


class Remote:
    """An actor whose answer is what it was called with; it keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: self.calls.append((name, *args)))


class Driver:
    """Hands out one pack; keeps what it is told."""

    finished, interrupted = False, False

    def __init__(self) -> None:
        spec = SimpleNamespace(to_dict=lambda: {"a": 1})
        self.jobs: list[Any] = [SimpleNamespace(pack_id="p", spec=spec)]
        self.told: list[tuple[Any, ...]] = []
        self.ticks = 0

    def next_pack(self) -> Any:
        return self.jobs.pop() if self.jobs else None

    def ended_runs(self, job: Any) -> set[tuple[int, int]]:
        return {(0, 1)}

    def take_result(self, result: TaskResult) -> None:
        self.told.append((result.pack_id, result.report or result.error))

    def on_pack_failure(self, *args: Any, **more: Any) -> None:
        self.told.append((*args, more))

    def tick(self) -> None:
        self.ticks += 1


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Remote, PackSearcher, list[int]]:
    monkeypatch.setattr(searcher_module.ray, "get", lambda answer: answer)
    driver: Any = Driver()
    broker, changes = Remote(), list[int]()
    searcher = PackSearcher(driver, broker, {"broker": "b"}, lambda: changes.append(1), threading.Event())
    return driver, broker, searcher, changes


def told(**content: Any) -> dict[str, Any]:
    return to_tune(TaskResult("p", **content))


def test_a_pack_is_put_at_the_broker_and_its_worker_told_its_name(parts: Any) -> None:
    driver, broker, searcher, changes = parts
    assert searcher.suggest("t1") == {"pack_id": "p", "broker": "b"}
    assert broker.calls == [("put", "p", {"a": 1}, {(0, 1)})]
    assert searcher.suggest("t2") is None, "none now"
    driver.finished = True
    assert searcher.suggest("t3") == Searcher.FINISHED
    assert len(changes) == 1


def test_no_more_packs_are_on_their_way_than_there_is_room_for(parts: Any) -> None:
    driver, _, searcher, _ = parts
    driver.workers, room = 1, 1
    driver.jobs *= 3
    searcher.room = lambda: room
    assert searcher.suggest("t1") is not None
    assert searcher.suggest("t2") is None
    room = 2
    assert searcher.suggest("t2") is not None
    assert driver.workers == 2
    room = 1
    searcher.on_trial_complete("t1", told(done=True, report="last"))
    assert searcher.suggest("t3") is None, "the one that is left fills what there is"
    searcher.on_trial_complete("t2", told(done=True, report="last"))
    assert searcher.suggest("t3") is not None


def test_runs_are_dropped_and_packs_closed_at_the_broker(parts: Any) -> None:
    driver, broker, _, _ = parts
    driver.drop("p", {(0, 1)})
    driver.close("p")
    assert broker.calls == [("drop", "p", {(0, 1)}), ("close", "p")]


def test_reports_are_passed_on_the_last_one_too(parts: Any) -> None:
    driver, _, searcher, changes = parts
    searcher.suggest("t1")
    searcher.on_trial_result("t1", told(done=False, report="first"))
    searcher.on_trial_complete("t1", told(done=True, report="last"))
    assert driver.told == [("p", "first"), ("p", "last")]
    assert len(changes) >= 3


def test_what_the_code_raised_is_no_dead_worker(parts: Any) -> None:
    driver, _, searcher, _ = parts
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", told(done=True, error="ValueError: no"))
    assert driver.told == [("p", "ValueError: no")]


def test_a_dead_worker_is_told_once(parts: Any) -> None:
    driver, _, searcher, _ = parts
    searcher.suggest("t1")
    searcher.on_trial_complete("t1", error=True)
    searcher.on_trial_complete("t1", error=True)
    searcher.on_trial_complete("t9", told(done=True, report="of nobody"))
    assert driver.told == [("p", "the worker died", {"died": True})]


def test_tune_stops_when_the_user_has_interrupted_and_the_driver_works_in_between() -> None:
    driver: Any = Driver()
    interrupt = threading.Event()
    stop = StopOnInterrupt(driver, interrupt)
    assert not stop("t1", {})
    assert not stop.stop_all()
    interrupt.set()
    assert stop.stop_all()
    assert (driver.ticks, driver.interrupted) == (2, True)


def test_tune_stores_nothing_of_them(parts: Any) -> None:
    _, _, searcher, _ = parts
    assert vars(pickle.loads(pickle.dumps(searcher))) == {}
    assert searcher.save("x") is searcher.restore("x") is None


def test_workers_that_hang_are_killed_while_their_pack_is_on_its_way(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, broker, searcher, _ = parts
    killed: list[str] = []
    monkeypatch.setattr(searcher_module.ray, "kill", killed.append)
    silent = {"p": ["worker of p"], "over": ["worker of another pack by now"]}
    broker.take_silent = SimpleNamespace(remote=lambda after_s: silent if after_s == 60.0 else {})
    assert driver.end_silent(60.0) == 0
    searcher.suggest("t1")
    assert driver.end_silent(60.0) == 1
    assert killed == ["worker of p"]
