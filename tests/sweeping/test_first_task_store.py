"""First tasks kept for packs to come: where they are worth it, what is kept, and that no result depends on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cfsweep.hypers import Hyper
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.first_task_store import FirstTaskFolder, WorkerFirstTasks, first_tasks_recur
from cfsweep.sweeping.space import check_space
from cfsweep.training.loop import TaskLoop
from cfsweep.training.pack import Pack
from tests.sweeping.in_process import Killed, Sweep, tiny

CHOICES = {"choices": [0.01, 0.02]}


# ------------------------------------------------------------------------------------------------ is it worth it?


@pytest.mark.parametrize(
    ("search", "ingredients", "trials", "expected"),
    [
        ({"ewc_lambda": {"low": 1.0, "high": 1e6}}, ("ewc",), 2, True),
        ({"ewc_lambda": {"low": 1.0, "high": 1e6}}, ("ewc",), 1, False),  # there is no second trial
        ({"lr": {"low": 1e-3, "high": 1e-2}}, ("ewc",), 10_000, False),
        ({"lr": {"low": 1e-2, "high": 1e-2}}, ("ewc",), 2, True),
        ({"lr": CHOICES, "momentum": {"choices": [0.0, 0.5, 0.9]}}, ("ewc",), 7, True),
        ({"lr": CHOICES, "momentum": {"choices": [0.0, 0.5, 0.9]}}, ("ewc",), 6, False),
        ({"epochs": {"low": 1, "high": 4}}, ("ewc",), 5, True),  # static
        ({"epochs": {"low": 1, "high": 4}}, ("ewc",), 4, False),
        ({"patience": {"low": 1, "high": 3, "zero": True}}, ("early-stopping",), 5, True),
        ({"patience": {"low": 1, "high": 3, "zero": True}}, ("early-stopping",), 4, False),
        ({"packnet_rate": {"low": 0.1, "high": 0.9}}, ("packnet",), 10_000, False),  # acts in the middle
        ({"packnet_rate": {"choices": [0.1, 0.5]}}, ("packnet",), 3, True),
        ({"replay_buffer": {"low": 0, "high": 10**6}}, ("replay",), 2, True),
    ],
)
def test_first_tasks_recur_if_there_are_fewer_than_trials(
    search: dict[str, Any], ingredients: tuple[str, ...], trials: int, expected: bool
) -> None:
    space = tiny(search, ingredients=ingredients).space
    assert first_tasks_recur(space, check_space(space, "test"), trials) is expected


def test_a_value_of_every_kind_counts() -> None:
    hypers = {name: Hyper(name, "choice", "a", "", choices=("a", "b", "c")) for name in ("one", "other")}
    space = tiny(ingredients=()).space
    search = {name: {"choices": ["a", "b", "c"]} for name in hypers}
    space = type(space).model_validate({"search": search})
    assert [first_tasks_recur(space, hypers, trials) for trials in (9, 10)] == [False, True]


# ------------------------------------------------------------------------------------------------ what is kept


def test_the_folder_keeps_what_was_asked_for_last(tmp_path: Path) -> None:
    folder = FirstTaskFolder(tmp_path, most_bytes=10)
    folder.put({"a": b"1111", "b": b"2222"})
    assert folder.get(["a", "x"]) == {"a": b"1111"}
    folder.put({"c": b"3333"})
    assert folder.get(["a", "b", "c"]) == {"a": b"1111", "c": b"3333"}
    folder.put({"a": b"other"})
    assert folder.get(["a"]) == {"a": b"1111"}, "what has a key is always the same"
    folder.put({"d": b"4" * 11})
    assert folder.get("abcd") == {}, "one that is too large for the folder pushes all out, itself too"
    assert list(tmp_path.iterdir()) == []


def test_another_session_finds_what_was_kept_and_nothing_else(tmp_path: Path) -> None:
    FirstTaskFolder(tmp_path).put({"a": b"1111", "b": b"2222", "c": b"3333"})
    for second, key in enumerate("bca"):
        os.utime(tmp_path / f"prefix-{key}.pt", (second, second))
    (tmp_path / ".prefix-d.pt.x7.tmp").write_bytes(b"half of one, from a driver that was killed")
    (tmp_path / "pack000001.pt").write_bytes(b"a checkpoint")
    folder = FirstTaskFolder(tmp_path, most_bytes=9)
    assert folder.get("abcd") == {"a": b"1111", "c": b"3333"}
    folder.clear()
    folder.put({"e": b"5"})  # from a worker that was late
    assert sorted(path.name for path in tmp_path.iterdir()) == [".prefix-d.pt.x7.tmp", "pack000001.pt"]


def test_a_worker_asks_the_broker_once(tmp_path: Path) -> None:
    broker, asked = FirstTaskFolder(tmp_path), list[list[str]]()

    def ask(keys: list[str]) -> dict[str, bytes]:
        asked.append(keys)
        return broker.get(keys)

    broker.put({"a": b"1111"})
    worker = WorkerFirstTasks(ask, broker.put, most_bytes=9)
    worker.put({"b": b"2222"})
    assert broker.get(["b"]) == {"b": b"2222"}
    for _ in range(2):
        assert worker.get(["a", "b"]) == {"a": b"1111", "b": b"2222"}
    assert asked == [["a"]]
    assert worker.get(["x"]) == {}
    broker.put({"c": b"3333"})
    assert worker.get(["c"]) == {"c": b"3333"}
    assert worker.get(["b", "a"]) == {"b": b"2222", "a": b"1111"}  # `a` had to go, and comes from the broker again
    assert asked[1:] == [["x"], ["c"], ["a"]]
    assert sum(map(len, worker.contents.values())) <= 9


# ------------------------------------------------------------------------------------------------ sweeps


@pytest.fixture
def first_tasks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each first task that is really trained."""
    rows: list[int] = []
    run = TaskLoop.run

    def noted(self: TaskLoop, *given: Any) -> None:
        rows.extend([len(self.stack)] * (self.task == 0))
        run(self, *given)

    monkeypatch.setattr(TaskLoop, "run", noted)
    return rows


def tables(sweep: Sweep) -> list[Any]:
    kept = [{k: v for k, v in row.items() if k in ("trial", "seed", "state", "steps")} for row in sweep.rows()]
    return [kept, sweep.matrices(), sweep.rows("buffers")]


SEARCHES: list[dict[str, Any]] = [
    {"ewc_lambda": {"low": 1.0, "high": 1e6, "log": True, "zero": True}, "replay_ratio": {"low": 0.1, "high": 0.5}},
    {"lr": {"choices": [0.01, 0.03]}, "ewc_lambda": {"low": 1.0, "high": 1e6, "log": True}},
]


@pytest.mark.parametrize("search", SEARCHES, ids=["later", "start and later"])
def test_a_sweep_has_the_same_results_with_and_without(
    sweep: Sweep, tmp_path: Path, search: dict[str, Any], first_tasks: list[int]
) -> None:
    options: dict[str, Any] = {"trials": 8, "seeds": 2, "pack_runs": 4, "references": True}
    apart = Sweep(tmp_path / "apart", sweep.stream)
    apart.train(apart.open(tiny(search, share_prefix=False, **options)))
    assert sum(first_tasks) == 2 * 8 + 2 * 2
    first_tasks.clear()
    driver = sweep.train(sweep.open(tiny(search, **options)))
    assert driver.complete
    assert tables(sweep) == tables(apart)
    references, seeds, settings = 2 * 2, 2, len(search.get("lr", {"choices": [0]})["choices"])
    # The two workers begin together, so each of them may train what the other one trains.
    assert seeds * settings < sum(first_tasks) <= references + 2 * seeds * settings
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_first_tasks_outlive_the_driver(sweep: Sweep, tmp_path: Path, first_tasks: list[int]) -> None:
    config = tiny(SEARCHES[0], trials=6, pack_runs=2)
    whole = Sweep(tmp_path / "whole", sweep.stream)
    whole.train(whole.open(config, workers=1))
    first_tasks.clear()

    def kill(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == 4:
            raise Killed

    with pytest.raises(Killed):
        sweep.train(sweep.open(config, workers=1), kill)
    assert len(list(sweep.folder.checkpoints.glob("prefix-*.pt"))) == len(first_tasks) == 1
    assert sweep.train(sweep.open(config, workers=1)).complete
    assert len(first_tasks) == 1, "what the first driver's pack had trained is enough"
    begun = {key: matrix for key, matrix in whole.matrices().items() if key[0] in (0, 1)}  # asked by the first driver
    assert begun.items() <= sweep.matrices().items()
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_nothing_is_kept_where_nothing_recurs(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FirstTaskFolder, "put", lambda *args: pytest.fail("it will never be asked for"))
    search = {"lr": {"low": 0.01, "high": 0.1}, **SEARCHES[0]}
    assert sweep.train(sweep.open(tiny(search, trials=3))).complete


def test_a_first_task_that_is_not_as_it_was_written_is_trained_again(tmp_path: Path) -> None:
    folder = FirstTaskFolder(tmp_path)
    folder.put({"a": b"1111", "b": b"2222"})
    path = tmp_path / "prefix-a.pt"
    path.write_bytes(b"1110" + path.read_bytes()[4:])
    assert folder.get(["a", "b"]) == {"b": b"2222"}
    folder.put({"a": b"1111"})
    assert folder.get(["a", "b"]) == {"a": b"1111", "b": b"2222"}
