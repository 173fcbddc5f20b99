"""Where workers fetch packs, and leave checkpoints and first tasks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cfsweep.results.schema import model_path
from cfsweep.sweeping.broker import Broker, checkpoint_path


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """With the pack `p`, of which the run (0, 1) has ended."""
    broker = Broker()
    broker.open(str(tmp_path))
    broker.put("p", {"a": 1}, {(0, 1)})
    return broker


def test_a_pack_is_fetched_whole_then_from_its_checkpoint(broker: Broker, tmp_path: Path) -> None:
    assert broker.fetch("p") == ({"a": 1}, None, False)
    for content in (b"one", b"two"):
        broker.save("p", content)
        assert broker.fetch("p") == ({"a": 1}, content, False)
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt"], "one file, the latest"


@pytest.mark.parametrize("damage", ["a bit", "its end", "all of it"])
def test_a_damaged_checkpoint_is_none(broker: Broker, tmp_path: Path, damage: str) -> None:
    """torch reads one with another bit as if nothing were wrong."""
    broker.save("p", b"after task 3")
    path = checkpoint_path(tmp_path, "p")
    content = path.read_bytes()
    turned = bytes([content[0] ^ 1, *content[1:]])
    path.write_bytes({"a bit": turned, "its end": content[:-1], "all of it": b""}[damage])
    assert broker.fetch("p") == ({"a": 1}, None, True)
    assert not path.exists(), "it is kept beside"
    path.write_bytes(content)
    assert broker.fetch("p").checkpoint == b"after task 3"


def test_a_pack_that_is_put_again_goes_on_from_its_checkpoint(broker: Broker) -> None:
    broker.save("p", b"one")
    broker.put("p", {"a": 1}, {(1, 1)})
    assert broker.fetch("p").checkpoint == b"one"
    assert broker.dropped_from("p") == {(0, 1), (1, 1)}, "what has ended stays ended"


def test_runs_are_dropped(broker: Broker) -> None:
    broker.drop("p", {(2, 0)})
    broker.drop("q", {(5, 0)})  # before it is put: a report may be slow
    assert broker.dropped_from("p") == {(0, 1), (2, 0)}
    assert broker.dropped_from("q") == {(5, 0)}
    assert broker.dropped_from("nobody") is None


def test_what_is_closed_is_gone_and_a_late_checkpoint_of_it_is_not_kept(broker: Broker, tmp_path: Path) -> None:
    broker.save("p", b"one")
    for _ in range(2):
        broker.close("p")
        assert list(tmp_path.iterdir()) == []
        broker.save("p", b"late")
    assert broker.dropped_from("p") is None, "its worker is to stop"
    with pytest.raises(KeyError):
        broker.fetch("p")


def test_it_carries_first_tasks_until_the_sweep_is_complete(broker: Broker, tmp_path: Path) -> None:
    broker.put_first_tasks({"a": b"1"})
    assert broker.get_first_tasks(["a", "b"]) == {"a": b"1"}
    broker.clear_first_tasks()
    broker.put_first_tasks({"c": b"3"})
    assert broker.get_first_tasks(["a", "c"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_opened_for_another_sweep_it_knows_nothing_of_the_last(broker: Broker, tmp_path: Path) -> None:
    broker.save("p", b"one")
    (tmp_path / "other").mkdir()
    broker.open(str(tmp_path / "other"))
    assert broker.dropped_from("p") is None
    broker.put("p", {}, set())
    assert broker.dropped_from("p") == set()
    assert broker.fetch("p") == ({}, None, False)
    assert checkpoint_path(tmp_path, "p").read_bytes().startswith(b"one")


def test_models_are_kept_beside_the_checkpoints_one_file_per_run(tmp_path: Path) -> None:
    broker = Broker()
    broker.open(str(tmp_path / "checkpoints"))
    broker.put("p", {}, set())
    broker.keep("p", {(7, 10_000): b"one", (-2, 10_001): b"two"})
    broker.keep("p", {(7, 10_000): b"again"})
    kept = {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()}
    assert kept == {"trial7-seed10000.pt": b"again", "trial-2-seed10001.pt": b"two"}
    assert model_path(tmp_path, (7, 10_000)).read_bytes() == b"again"
    broker.close("p")
    assert len(list((tmp_path / "models").iterdir())) == 2
    assert broker.keep("p", {(7, 10_000): b"late"}), "one that was taken for dead, and comes back"
    assert model_path(tmp_path, (7, 10_000)).read_bytes() == b"again"


def test_a_worker_is_heard_whenever_it_asks_or_leaves_anything(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("cfsweep.sweeping.broker.time", SimpleNamespace(monotonic=lambda: clock[0]))
    clock[0] = 100.0
    assert broker.silent(10.0) == set(), "nobody has fetched it yet"
    for ask in (lambda: broker.fetch("p"), lambda: broker.dropped_from("p"), lambda: broker.save("p", b"one")):
        ask()
        clock[0] += 9.0
        assert broker.silent(10.0) == set()
        clock[0] += 2.0
        assert broker.silent(10.0) == {"p"}
    broker.close("p")
    assert broker.silent(10.0) == set()
