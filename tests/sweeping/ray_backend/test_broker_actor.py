"""Which workers the broker takes for hanging. (That they are killed: `test_searcher`; real ones: `tests/faults`.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfsweep.sweeping import broker as broker_module
from cfsweep.sweeping.ray_backend import broker_actor
from cfsweep.sweeping.ray_backend.broker_actor import StreamBroker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    clock = [100.0]
    for module in (broker_module, broker_actor):
        monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def broker(tmp_path: Path) -> StreamBroker:
    broker = StreamBroker()
    broker.open_with_stream(str(tmp_path), None)
    return broker


def hand_out(broker: StreamBroker, *packs: str) -> None:
    for pack_id in packs:
        broker.put(pack_id, {}, set())


def test_who_has_a_pack_and_says_nothing_is_silent(broker: StreamBroker, clock: list[float]) -> None:
    worker: Any = "a"
    hand_out(broker, "p")
    broker.fetch_for("p", [worker])
    clock[0] += 9
    assert broker.take_silent(10.0) == {}
    broker.dropped_from("p")
    clock[0] += 9
    assert broker.take_silent(10.0) == {}
    clock[0] += 1
    assert broker.take_silent(10.0) == {"p": ["a"]}
    assert broker.take_silent(10.0) == {}, "once"


def test_who_should_have_fetched_the_next_pack_is_silent(broker: StreamBroker, clock: list[float]) -> None:
    for pack_id, worker in (("p", "a"), ("q", "b")):
        hand_out(broker, pack_id)
        broker.fetch_for(pack_id, [worker])
        broker.close(pack_id)
    clock[0] += 20
    assert broker.take_silent(10.0) == {}, "there is nothing to fetch"
    hand_out(broker, "r", "s")
    broker.fetch_for("s", ["b"])
    clock[0] += 9
    broker.dropped_from("s")
    assert broker.take_silent(10.0) == {}
    clock[0] += 1
    assert broker.take_silent(10.0) == {"r": ["a"]}
    broker.close("s")
    clock[0] += 9
    assert broker.take_silent(5.0) == {"r": ["b"]}, "another one should have fetched it since"
    assert broker.take_silent(5.0) == {}, "once"


def test_a_pack_that_waits_for_a_worker_is_nobodys_fault(broker: StreamBroker, clock: list[float]) -> None:
    hand_out(broker, "p", "q")
    broker.fetch_for("p", ["a"])
    clock[0] += 20
    broker.dropped_from("p")
    assert broker.take_silent(10.0) == {}
