"""Plays the scenarios that tests ask for in a thread, one after another, while the other tests run: those that look at
them come last."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.sweeping.command import Processes
from tests.sweeping.ray_backend.scenarios import (
    Confirmed,
    OnCluster,
    Terminated,
    Whole,
    confirmed_sweep,
    on_a_cluster,
    terminated_then_killed,
    whole_sweep,
)

SCENARIOS: dict[str, Callable[[Processes, Path], Any]] = {
    "on_cluster": on_a_cluster,
    "terminated": terminated_then_killed,
    "whole": whole_sweep,
    "confirmed": confirmed_sweep,
}


LONGEST_S = 900  # of all scenarios together; then something hangs


class Stage:
    """Where the scenarios of these `names` are played."""

    def __init__(self, names: list[str]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="cfsweep-scenarios-")
        self.processes = Processes(Path(self.folder.name))
        self.outcomes: dict[str, Future[Any]] = {name: Future() for name in names}
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        for name, outcome in self.outcomes.items():
            folder = Path(self.folder.name) / name
            folder.mkdir()
            try:
                outcome.set_result(SCENARIOS[name](self.processes, folder))
            except BaseException as error:  # raised in the test that looks at it
                outcome.set_exception(error)

    def end(self) -> None:
        self.processes.close()
        self.thread.join(timeout=LONGEST_S)
        self.processes.end()
        self.folder.cleanup()


STAGE: list[Stage] = []  # one, if a test asks for a scenario


def asked_for(item: pytest.Item) -> set[str]:
    """The scenarios that a test looks at. (Elsewhere a fixture may be called the same.)"""
    here = item.path.is_relative_to(Path(__file__).parent)
    return SCENARIOS.keys() & set(getattr(item, "fixturenames", ())) if here else set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = list(SCENARIOS)
    items.sort(key=lambda item: max((order.index(name) + 1 for name in asked_for(item)), default=0))


def pytest_runtestloop(session: pytest.Session) -> None:
    wanted = set[str]().union(*map(asked_for, session.items))
    if wanted and not session.config.option.collectonly:
        STAGE.append(Stage([name for name in SCENARIOS if name in wanted]))


def pytest_sessionfinish() -> None:
    while STAGE:
        STAGE.pop().end()


def outcome(name: str) -> Any:
    """What came of a scenario, once it is over."""
    return STAGE[0].outcomes[name].result(timeout=LONGEST_S)


@pytest.fixture(scope="session")
def whole() -> Whole:
    """A whole sweep on Ray."""
    found: Whole = outcome("whole")
    return found


@pytest.fixture(scope="session")
def terminated() -> Terminated:
    """A sweep on Ray that was terminated, and killed when it went on."""
    found: Terminated = outcome("terminated")
    return found


@pytest.fixture(scope="session")
def on_cluster() -> OnCluster:
    """A sweep on a cluster of two nodes, of which a worker was killed."""
    found: OnCluster = outcome("on_cluster")
    return found


@pytest.fixture(scope="session")
def confirmed() -> Confirmed:
    """A sweep that was confirmed on Ray."""
    found: Confirmed = outcome("confirmed")
    return found
