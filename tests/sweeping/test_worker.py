"""What trains a pack, a task at a time: what it says of it, and what it leaves behind."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cfsweep.config import StudyConfig
from cfsweep.files import write_sealed
from cfsweep.results.schema import model_path
from cfsweep.sweeping.broker import Broker, BrokerError, checkpoint_path
from cfsweep.sweeping.packing import pack_runs
from cfsweep.sweeping.space import check_space
from cfsweep.sweeping.worker import PackWorker, TaskResult
from cfsweep.training.first_task_cache import FirstTaskCache
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import tiny


def spec_of(config: StudyConfig, n: int = 2) -> PackSpec:
    """A pack of `n` runs that differ in λ."""
    hypers = check_space(config.space, "test")
    fixed = {name: config.space.fixed.get(name, hyper.default) for name, hyper in hypers.items()}
    runs = [RunSpec(trial, 0, {**fixed, "ewc_lambda": float(trial + 1)}) for trial in range(n)]
    (spec,) = pack_runs(config, hypers, runs, n)
    return spec


SPEC = spec_of(tiny({"ewc_lambda": {"choices": [1.0, 2.0]}}, ingredients=("ewc",)))


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A broker that holds the pack `p`."""
    broker = Broker()
    broker.open(str(tmp_path))
    broker.put("p", SPEC.to_dict(), set())
    return broker


def worker_on(
    broker: Broker, stream: Stream, share_first_task: bool = True, first_tasks: FirstTaskCache | None = None
) -> PackWorker:
    return PackWorker("p", broker, stream, torch.device("cpu"), share_first_task, first_tasks)


def advanced_to_the_end(worker: PackWorker) -> TaskResult:
    while not (result := worker.advance()).done:
        pass
    return result


def accuracies(result: TaskResult) -> list[list[list[float]]]:
    assert result.report is not None
    return [record.validation for record in result.report.records]


def test_each_step_is_a_task_and_leaves_a_checkpoint_until_the_last(broker: Broker, stream: Stream) -> None:
    worker, path = worker_on(broker, stream), checkpoint_path(broker.checkpoints, "p")
    results, left = [], []
    for _ in stream.tasks:
        results.append(worker.advance())
        left.append(path.read_bytes() if path.exists() else b"")
    assert [(result.pack_id, result.done, result.error) for result in results] == [("p", False, "")] * 4 + [
        ("p", True, "")
    ]
    assert [result.report.task for result in results if result.report] == [0, 1, 2, 3, 4]
    assert len(set(left[:4])) == 4
    assert left[4] == left[3], "what is over needs no other checkpoint"
    whole = Pack(SPEC, stream)
    while not whole.done:
        whole.train_next_task()
    assert accuracies(results[-1]) == [record.validation for record in whole.records]


def test_another_worker_goes_on_within_a_task(tmp_path: Path, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that dies there has left how far a run alone had come."""
    spec = spec_of(tiny({"ewc_lambda": {"choices": [1.0]}}, ingredients=("ewc",)), 1)
    whole = Pack(spec, stream)
    while not whole.done:
        whole.train_next_task()
    monkeypatch.setattr(Pack, "save_every_s", 0.0)
    broker = DyingBroker(dies_after=2)
    broker.open(str(tmp_path))
    broker.put("p", spec.to_dict(), set())
    places = []
    for _ in range(3):
        with pytest.raises(Died):
            advanced_to_the_end(worker_on(broker, stream))
        checkpoint = broker.fetch("p").checkpoint
        assert checkpoint is not None
        content = torch.load(io.BytesIO(checkpoint), weights_only=True)
        begun = torch.load(io.BytesIO(content["begun"].numpy().tobytes()), weights_only=True)
        places.append((begun["next_task"], content["within"]["step"]))
    assert places[0] < places[1] < places[2], "each goes on from where the one before died"
    broker.left = 10**6
    result = advanced_to_the_end(worker_on(broker, stream))
    assert accuracies(result) == [record.validation for record in whole.records]


def test_a_broker_that_takes_no_checkpoint_within_a_task_is_no_fault_of_the_pack(
    tmp_path: Path, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny({"ewc_lambda": {"choices": [1.0]}}, ingredients=("ewc",)), 1)
    monkeypatch.setattr(Pack, "save_every_s", 0.0)
    broker = FullBroker()
    broker.open(str(tmp_path))
    broker.put("p", spec.to_dict(), set())
    with pytest.raises(BrokerError, match="No space left"):
        worker_on(broker, stream).advance()


class Died(BaseException):
    """What no `except Exception` holds up, as a kill."""


class DyingBroker(Broker):
    """Its worker is killed each time after so many checkpoints within tasks."""

    def __init__(self, dies_after: int) -> None:
        super().__init__()
        self.dies_after, self.left = dies_after, dies_after

    def save(self, pack_id: str, checkpoint: bytes) -> None:
        super().save(pack_id, checkpoint)
        self.left -= "within" in torch.load(io.BytesIO(checkpoint), weights_only=True)
        if self.left <= 0:
            self.left = self.dies_after
            raise Died


class FullBroker(Broker):
    """Its disk is full in the midst of tasks."""

    def save(self, pack_id: str, checkpoint: bytes) -> None:
        if "within" in torch.load(io.BytesIO(checkpoint), weights_only=True):
            raise OSError(28, "No space left on device")


def test_another_worker_goes_on_from_the_checkpoint(broker: Broker, stream: Stream) -> None:
    first = worker_on(broker, stream)
    told = [first.advance() for _ in stream.tasks]
    broker.put("again", SPEC.to_dict(), set())
    path = checkpoint_path(broker.checkpoints, "p")
    checkpoint_path(broker.checkpoints, "again").write_bytes(path.read_bytes())
    second = PackWorker("again", broker, stream, torch.device("cpu"))
    result = second.advance()
    assert (result.report.task if result.report else None, result.done) == (4, True)
    assert accuracies(result) == accuracies(told[-1])


def test_runs_that_were_dropped_are_trained_no_further(broker: Broker, stream: Stream) -> None:
    worker = worker_on(broker, stream)
    worker.advance()
    broker.drop("p", {(1, 0)})
    result = worker.advance()
    assert [len(rows) - 1 for rows in accuracies(result)] == [2, 1]
    broker.drop("p", {(0, 0)})
    result = worker.advance()
    assert result.done
    assert [len(rows) - 1 for rows in accuracies(result)] == [2, 1]
    assert result.report is not None
    assert result.report.task == 1, "a pack of which nothing is left trains no further task"


def test_models_are_there_before_the_last_report(stream: Stream, tmp_path: Path) -> None:
    broker = Broker()
    broker.open(str(tmp_path / "checkpoints"))
    broker.put("p", replace(SPEC, keep_models=True).to_dict(), set())
    broker.put("q", SPEC.to_dict(), set())
    for pack_id in ("q", "p"):
        worker = PackWorker(pack_id, broker, stream, torch.device("cpu"))
        for _ in stream.tasks:
            assert not (tmp_path / "models").exists(), "not before the last task, nor of who wants none"
            result = worker.advance()
        assert result.done
    for run in SPEC.runs:
        model = Pack.restore(model_path(tmp_path, run.key).read_bytes(), stream)
        assert model is not None
        assert [record.key for record in model.records] == [run.key]


@pytest.mark.parametrize("share_first_task", [True, False])
def test_runs_share_a_first_task_if_the_study_says_so(broker: Broker, stream: Stream, share_first_task: bool) -> None:
    pack: Any = worker_on(broker, stream, share_first_task).open_trainer(broker.fetch("p"))
    assert len(pack.stack.alive) == 2
    assert len(pack.stack) == (1 if share_first_task else 2)


def test_a_first_task_that_is_known_is_not_trained(broker: Broker, stream: Stream) -> None:
    first = worker_on(broker, stream, first_tasks=broker.first_tasks).advance()
    again = worker_on(broker, stream, first_tasks=broker.first_tasks)
    checkpoint_path(broker.checkpoints, "p").unlink()
    second = again.advance()
    assert accuracies(second) == accuracies(first)
    assert first.report is not None
    assert second.report is not None
    assert [r.train_s for r in second.report.records] == [r.train_s for r in first.report.records], "taken over"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("no")])
def test_what_the_code_of_a_pack_raises_is_told_and_the_pack_let_go(
    broker: Broker, stream: Stream, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Pack, *_: Any) -> None:
        raise error

    worker = worker_on(broker, stream)
    monkeypatch.setattr(Pack, "train_next_task", fails)
    result = pickle.loads(pickle.dumps(worker.advance()))
    assert result.out_of_memory is isinstance(error, torch.OutOfMemoryError)
    assert result.error.startswith(f"{type(error).__name__}: {error} (sweeping/test_worker.py, line ")
    assert result.error.endswith(", in fails)")
    assert "in fails\n" in result.trace
    assert result.done
    assert worker.trainer is None
    assert worker.advance().done, "and it can be asked again"


def test_a_pack_that_is_closed_is_trained_no_further(stream: Stream, broker: Broker) -> None:
    worker = worker_on(broker, stream)
    assert not worker.advance().done
    broker.close("p")
    result = worker.advance()
    assert (result.done, result.report, result.error) == (True, None, "the driver has closed the pack")
    assert worker.trainer is None, "its memory is free"


def test_what_the_broker_raises_is_no_error_of_the_pack(
    stream: Stream, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(pack_id: str, checkpoint: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(broker, "save", full)
    with pytest.raises(BrokerError, match="OSError: no space left"):
        worker_on(broker, stream).advance()


class _Gone:
    """First tasks at a broker that is gone."""

    def __init__(self, fails_at: str) -> None:
        self.fails_at = fails_at

    def get(self, keys: Any) -> dict[str, bytes]:
        return self._at("get")

    def put(self, contents: Any) -> None:
        self._at("put")

    def _at(self, where: str) -> dict[str, bytes]:
        if where == self.fails_at:
            raise ConnectionError("the actor died")
        return {}


@pytest.mark.parametrize("fails_at", ["get", "put"])
def test_nor_is_what_it_raises_in_the_midst_of_a_task(broker: Broker, stream: Stream, fails_at: str) -> None:
    """Asked for first tasks, by the code of the pack."""
    with pytest.raises(BrokerError, match="ConnectionError: the actor died"):
        worker_on(broker, stream, first_tasks=_Gone(fails_at)).advance()


@pytest.mark.parametrize("damage", ["cut short", "a bit", "no checkpoint of torch's", "nothing in it"])
def test_a_checkpoint_that_cannot_be_read_is_set_aside(broker: Broker, stream: Stream, damage: str) -> None:
    first, path = worker_on(broker, stream), checkpoint_path(broker.checkpoints, "p")
    first.advance()
    whole = path.read_bytes()
    content = {
        "cut short": whole[:-1000],
        "a bit": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
        "no checkpoint of torch's": None,
        "nothing in it": b"",
    }[damage]
    if content is None:
        write_sealed(path, b"written whole, but in a way that torch does not know")
    else:
        path.write_bytes(content)
    damaged = path.read_bytes()
    second = worker_on(broker, stream)
    result = second.advance()
    assert (result.error, result.began_anew, result.report.task if result.report else None) == ("", True, 0)
    assert path.with_name("p.pt.damaged").read_bytes() == damaged
    assert path.read_bytes() != damaged
    assert not second.advance().began_anew, "it is told once"
    assert accuracies(advanced_to_the_end(second)) == accuracies(advanced_to_the_end(first))


def test_what_is_wrong_with_a_pack_that_goes_on_is_still_its_own(
    broker: Broker, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_on(broker, stream).advance()

    def fails(*_: Any, **__: Any) -> None:
        raise ImportError("no module named mine")

    monkeypatch.setattr("cfsweep.sweeping.worker.open_trainer", fails)
    assert worker_on(broker, stream).advance().error.startswith("ImportError: no module named mine")


def test_where_memory_is_short_a_checkpoint_is_kept(
    broker: Broker, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_on(broker, stream).advance()

    def fails(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("cfsweep.sweeping.worker.open_trainer", fails)
    assert worker_on(broker, stream).advance().out_of_memory
    assert checkpoint_path(broker.checkpoints, "p").exists()


def test_ctrl_c_is_no_error_of_the_pack(broker: Broker, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Pack, *_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pack, "train_next_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker_on(broker, stream).advance()
