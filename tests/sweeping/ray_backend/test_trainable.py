"""What a worker of Ray's makes of what it is told, without a cluster: the broker is in this process."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.errors import InputError
from cfsweep.sweeping.broker import Broker
from cfsweep.sweeping.first_task_store import WorkerFirstTasks
from cfsweep.sweeping.ray_backend import trainable
from cfsweep.sweeping.ray_backend.trainable import PackTrainable, from_tune, pack_stream, to_tune, unpack_stream
from cfsweep.sweeping.worker import TaskResult
from cfsweep.training.networks import build, noted
from cfsweep.training.streams import Stream, load_stream
from tests.sweeping.test_worker import SPEC
from tests.training.streams.pictures import write_classes


def test_workers_share_the_streams_memory(stream: Stream) -> None:
    content = {**pack_stream(stream, NetworkConfig()), "x": stream.x.numpy().copy(), "y": stream.y.numpy().copy()}
    for array in (content["x"], content["y"]):
        array.flags.writeable = False  # as they come from Ray's object store
    shared = unpack_stream(content)
    assert np.shares_memory(shared.x.numpy(), content["x"])
    assert np.shares_memory(shared.y.numpy(), content["y"])
    assert shared.tasks[3].name == stream.tasks[3].name
    np.testing.assert_array_equal(shared.tasks[3].validation, stream.tasks[3].validation)
    assert (shared.digest, shared.target) == (stream.digest, stream.target)
    several = load_stream(StreamConfig(splits=3, standardise="channel", steering_frac=0.1))
    shared = unpack_stream(pickle.loads(pickle.dumps(pack_stream(several, NetworkConfig()))))
    assert [shared.of_split(k).digest for k in range(3)] == [several.of_split(k).digest for k in range(3)]
    assert shared.of_split(2).x is shared.x


def test_weights_from_a_file_come_with_the_stream(stream: Stream, tmp_path: Path) -> None:
    path, network = tmp_path / "w.pt", NetworkConfig(args={"hidden": [8]})
    known = build(network, stream.input_shape, 10).state_dict()
    torch.save(known, path)
    network = noted(network.model_copy(update={"init": str(path)}))
    packed = pickle.loads(pickle.dumps(pack_stream(stream, network)))
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        build(network, stream.input_shape, 10)
    unpack_stream(packed)
    found = build(network, stream.input_shape, 10).state_dict()
    assert all(torch.equal(value, known[name]) for name, value in found.items())
    unpack_stream(pack_stream(stream, NetworkConfig()))
    with pytest.raises(InputError, match="there is no such file"):
        build(network, stream.input_shape, 10)


def test_images_that_are_mapped_stay_in_their_file_on_one_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    images = load_stream(StreamConfig(name=str(write_classes(tmp_path / "data", ["a", "b"])), n_tasks=2))
    here, elsewhere = (
        pickle.loads(pickle.dumps(pack_stream(images, NetworkConfig(), alone))) for alone in (True, False)
    )
    assert len(pickle.dumps(here)) < len(pickle.dumps(elsewhere)) - images.x.numel() // 2
    assert unpack_stream(here).digest == unpack_stream(elsewhere).digest == images.digest
    assert (unpack_stream(here).mapped, unpack_stream(elsewhere).mapped) == (images.mapped, "")


def test_a_result_travels_as_plain_values() -> None:
    result = TaskResult("p", done=True, error="ValueError: no", trace="all of it")
    carried = to_tune(result)
    assert from_tune(carried) == result
    assert {type(value) for value in carried.values()} == {str, bool, bytes}


@pytest.fixture
def worker(tmp_path: Path, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> PackTrainable:
    """A worker beside a broker that holds the packs `p` and `q`."""
    broker: Any = Broker()
    broker.open(str(tmp_path))
    broker.stream_reference = lambda: "where the stream lies"
    for pack_id in ("p", "q"):
        broker.put(pack_id, SPEC.to_dict(), set())
    monkeypatch.setattr(trainable, "RemoteBroker", lambda name, namespace: broker)
    monkeypatch.setattr(trainable.ray, "get", lambda reference: pack_stream(stream, NetworkConfig()))
    monkeypatch.setattr(trainable.ray, "get_gpu_ids", list)
    monkeypatch.setattr(trainable, "_STREAMS", {})
    monkeypatch.setattr(trainable, "_FIRST_TASKS", {})
    monkeypatch.setattr(trainable, "_HELD_AGAINST", set())
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    worker = PackTrainable.__new__(PackTrainable)
    worker.setup(settings())
    return worker


def settings(pack_id: str = "p", **more: Any) -> dict[str, Any]:
    address: dict[str, Any] = {"broker": "b", "namespace": "n", "code": [], "code_sha256": {}}
    return {"pack_id": pack_id, **address, "share_first_task": True, "first_tasks_recur": False, **more}


def test_a_step_is_a_task_and_another_pack_another_beginning(worker: PackTrainable) -> None:
    told = [from_tune(worker.step()) for _ in range(5)]
    assert [(result.pack_id, result.done, result.error) for result in told] == [("p", False, "")] * 4 + [
        ("p", True, "")
    ]
    assert worker.reset_config(settings("q"))
    again = from_tune(worker.step())
    assert again.report is not None
    assert told[0].report is not None
    assert (again.pack_id, again.report.task) == ("q", 0)
    assert [r.validation for r in again.report.records] == [r.validation for r in told[0].report.records]
    worker.cleanup()
    assert worker.worker is None


@pytest.mark.parametrize("share_first_task", [True, False])
def test_runs_share_a_first_task_if_the_study_says_so(worker: PackTrainable, share_first_task: bool) -> None:
    worker.reset_config(settings(share_first_task=share_first_task))
    worker.step()
    assert worker.worker is not None
    trainer: Any = worker.worker.trainer
    assert trainer.stack.share_first_task is share_first_task


def test_first_tasks_that_recur_are_kept_from_pack_to_pack(worker: PackTrainable) -> None:
    worker.step()
    assert worker.worker is not None
    assert worker.worker.first_tasks is None
    kept: list[Any] = []
    for pack_id, broker in (("p", "b1"), ("q", "b1"), ("p", "b2")):
        worker.reset_config(settings(pack_id, broker=broker, first_tasks_recur=True))
        worker.step()
        assert worker.worker.first_tasks is not None
        kept.append(worker.worker.first_tasks.kept)
    assert isinstance(kept[0], WorkerFirstTasks)
    assert kept[0] is kept[1]
    assert kept[1] is not kept[2], "another sweep's are no use"


def test_a_process_that_begins_after_code_was_edited_trains_nothing(
    worker: PackTrainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began before has loaded what the study began with, and goes on."""
    file = tmp_path / "edited_net.py"
    file.write_text("WIDTH = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    began = {"edited_net.py": hashlib.sha256(file.read_bytes()).hexdigest()}
    worker.reset_config(settings(code_sha256=began))
    assert from_tune(worker.step()).report is not None
    file.write_text("WIDTH = 2\n")
    worker.reset_config(settings("q", code_sha256=began))
    assert from_tune(worker.step()).report is not None
    monkeypatch.setattr(trainable, "_HELD_AGAINST", set())  # as in a process that has only begun
    worker.reset_config(settings(code_sha256=began))
    result = from_tune(worker.step())
    assert (result.altered, result.report, result.done) == (("edited_net.py",), None, True)
    assert worker.worker is None


def test_what_fails_before_the_pack_is_there_is_told(worker: PackTrainable, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(reference: Any) -> Any:
        raise OSError("the stream is lost")

    monkeypatch.setattr(trainable, "fetch_stream", lost)
    result = from_tune(worker.step())
    assert (result.pack_id, result.done) == ("p", True)
    assert result.error.startswith("OSError: the stream is lost (")
