"""What runs on a worker: one pack at a time, one task per step."""

from __future__ import annotations

import pickle
import traceback
import warnings
from dataclasses import fields
from typing import Any

import ray
import torch
from ray import tune

from cfsweep.sweep.prefixes import WorkerPrefixes
from cfsweep.training.memory import is_out_of_memory, release
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec
from cfsweep.training.streams import Stream, Task

_STREAMS: dict[Any, Stream] = {}  # by reference: a warm worker unpacks a stream once
_PREFIXES: dict[str, WorkerPrefixes] = {}  # by desk: a warm worker fetches a first task once


def pack_stream(stream: Stream) -> dict[str, Any]:
    """`stream` as arrays, which Ray shares between the processes of a machine without copying."""
    content = {field.name: getattr(stream, field.name) for field in fields(stream)}
    return {**content, "x": stream.x.numpy(), "y": stream.y.numpy(), "tasks": [vars(t) for t in stream.tasks]}


def unpack_stream(content: dict[str, Any]) -> Stream:
    """Inverse of `pack_stream`; the tensors share the arrays' memory and are not to be written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        tensors = {name: torch.from_numpy(content[name]) for name in ("x", "y")}
    return Stream(**{**content, **tensors, "tasks": tuple(Task(**task) for task in content["tasks"])})


def fetch_stream(reference: Any) -> Stream:
    """The stream behind a reference, which crosses to a machine once; its processes map the same memory."""
    if reference not in _STREAMS:
        _STREAMS.clear()
        _STREAMS[reference] = unpack_stream(ray.get(reference))
    return _STREAMS[reference]


class PackTrainable(tune.Trainable):
    """Advances a pack by one task per `step()`. The result carries one pickled report, or the error."""

    pack: Pack | None

    def setup(self, config: dict[str, Any]) -> None:
        # Two OpenMP teams on two cores are far slower than one thread each; the packs are the parallelism.
        torch.set_num_threads(1)
        self.pack_id, self.desk, self.pack = config["pack_id"], ray.get_actor(config["desk"], config["namespace"]), None
        self.share_prefix = config["share_prefix"]
        self.prefixes = self._prefixes(config["desk"]) if config["prefixes_recur"] else None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            pack = self.pack = self.pack or self._open()
            pack.drop(self._ask("dropped_from"))
            report = pack.report() if pack.done else pack.step()
            if not report.done:
                self.desk.save.remote(self.pack_id, pack.checkpoint())
            return {"pack_id": self.pack_id, "report": pickle.dumps(report), "done": report.done}
        except Exception as error:
            # The driver decides what becomes of the pack; raised here, the error would only reach Tune's log.
            reason = f"{type(error).__name__}: {error}"
            self.pack = None
            return {
                "pack_id": self.pack_id,
                "error": reason,
                "out_of_memory": is_out_of_memory(error),
                "trace": traceback.format_exc(),
                "done": True,
            }

    def _open(self) -> Pack:
        spec, checkpoint, (stream_ref,) = self._ask("fetch")
        stream = fetch_stream(stream_ref)
        device = torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")
        release(device)  # of the pack before, which may have filled it
        if checkpoint is not None:
            return Pack.restore(checkpoint, stream, device)
        return Pack(PackSpec.from_dict(spec), stream, device, self.share_prefix, self.prefixes)

    def _prefixes(self, desk_name: str) -> WorkerPrefixes:
        if desk_name not in _PREFIXES:
            desk: Any = self.desk

            def ask(keys: list[str]) -> dict[str, bytes]:
                found: dict[str, bytes] = ray.get(desk.get_prefixes.remote(keys))
                return found

            _PREFIXES.clear()
            _PREFIXES[desk_name] = WorkerPrefixes(ask, desk.put_prefixes.remote)
        return _PREFIXES[desk_name]

    def _ask(self, question: str) -> Any:
        """What the desk answers about this pack."""
        return ray.get(getattr(self.desk, question).remote(self.pack_id))

    def cleanup(self) -> None:
        self.pack = None
