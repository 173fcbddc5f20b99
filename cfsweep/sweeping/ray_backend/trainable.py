"""What runs on a worker: one pack at a time, one task per step."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import fields
from typing import Any

import ray
import torch
from ray import tune
from ray.exceptions import RayError, RaySystemError

from cfsweep.config import NetworkConfig
from cfsweep.sweeping.broker import BrokerError, no_fault_of_the_pack
from cfsweep.sweeping.first_task_store import WorkerFirstTasks
from cfsweep.sweeping.ray_backend.broker_actor import RemoteBroker
from cfsweep.sweeping.worker import PackWorker, TaskResult
from cfsweep.training.networks import first_weights, take_in
from cfsweep.training.own_code import altered
from cfsweep.training.plugins import current_folder_importable, named
from cfsweep.training.streams import Stream, Task, mapped

WEIGHTS = "first_weights"  # beside the fields of a stream
_STREAMS: dict[Any, Stream] = {}  # by reference: a warm worker unpacks a stream once
_HELD_AGAINST: set[str] = set()  # by broker: of whose study this process has the code
_FIRST_TASKS: dict[str, WorkerFirstTasks] = {}  # by broker: a warm worker fetches a first task once


def pack_stream(stream: Stream, network: NetworkConfig, one_machine: bool = False) -> dict[str, Any]:
    """`stream` as arrays, which Ray shares between the processes of a machine without copying; with it the weights that
    `network` begins with, so that a worker needs no file. Where there is but `one_machine`, examples that are mapped
    from a file stay there, and need not fit into Ray's memory."""
    content = {field.name: getattr(stream, field.name) for field in fields(stream)}
    content |= {"y": stream.y.numpy(), "tasks": [vars(t) for t in stream.tasks], WEIGHTS: first_weights(network)}
    stays = one_machine and stream.mapped
    return {**content, "x": None} if stays else {**content, "x": stream.x.numpy(), "mapped": ""}


def unpack_stream(content: dict[str, Any]) -> Stream:
    """Inverse of `pack_stream`; the tensors share the arrays' memory and are not to be written. This process knows the
    weights then."""
    content = dict(content)
    take_in(content.pop(WEIGHTS))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(content[name]) for name in ("x", "y") if content[name] is not None}
        if content["x"] is None:
            tensors["x"] = mapped(content["mapped"])
    return Stream(**{**content, **tensors, "tasks": tuple(Task(**task) for task in content["tasks"])})


def fetch_stream(reference: Any) -> Stream:
    """The stream behind a reference, which crosses to a machine once; its processes map the same memory."""
    if reference not in _STREAMS:
        _STREAMS.clear()
        _STREAMS[reference] = unpack_stream(ray.get(reference))
    return _STREAMS[reference]


def to_tune(result: TaskResult) -> dict[str, Any]:
    """A result as Tune may carry it: it walks through whatever is no plain value."""
    return {"pack_id": result.pack_id, "done": result.done, "result": pickle.dumps(result)}


def from_tune(content: dict[str, Any]) -> TaskResult:
    """Inverse of `to_tune`."""
    result: TaskResult = pickle.loads(content["result"])
    return result


class PackTrainable(tune.Trainable):
    """Advances a pack by one task per `step()`."""

    worker: PackWorker | None

    def setup(self, config: dict[str, Any]) -> None:
        named(config["code"])  # the driver has asked whether it may run
        # Two OpenMP teams on two cores are far slower than one thread each; the packs are the parallelism.
        torch.set_num_threads(1)
        self.settings, self.worker = config, None
        self.broker = RemoteBroker(config["broker"], config["namespace"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            if edited := self._edited():
                return to_tune(TaskResult(self.settings["pack_id"], done=True, altered=edited))
            self.worker = self.worker or self._worker()
        except BrokerError:  # nor is it the pack's fault here: for Tune the worker has died
            raise
        except Exception as error:  # raised here, it would only reach Tune's log
            return to_tune(TaskResult.of_error(self.settings["pack_id"], error))
        return to_tune(self.worker.advance())

    def _edited(self) -> tuple[str, ...]:
        """The files that were edited since the study began, which this process would import; it is asked before it has
        imported any, once, as what it has loaded stays what it is."""
        if self.settings["broker"] in _HELD_AGAINST:
            return ()
        with current_folder_importable():
            found = tuple(altered(self.settings["code_sha256"]))
        if not found:
            _HELD_AGAINST.add(self.settings["broker"])
        return found

    def cleanup(self) -> None:
        self.worker = None

    def _worker(self) -> PackWorker:
        return PackWorker(
            self.settings["pack_id"],
            self.broker,
            self._stream(),
            torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"),
            self.settings["share_first_task"],
            self._first_tasks() if self.settings["first_tasks_recur"] else None,
        )

    def _stream(self) -> Stream:
        with no_fault_of_the_pack():
            reference = self.broker.stream_reference()
        try:
            return fetch_stream(reference)
        except RaySystemError:  # what it holds cannot be unpacked here: code of the user's that is missing
            raise
        except RayError as error:
            raise BrokerError(str(error)) from error

    def _first_tasks(self) -> WorkerFirstTasks:
        name = self.settings["broker"]
        if name not in _FIRST_TASKS:
            _FIRST_TASKS.clear()
            _FIRST_TASKS[name] = WorkerFirstTasks(self.broker.get_first_tasks, self.broker.put_first_tasks)
        return _FIRST_TASKS[name]
