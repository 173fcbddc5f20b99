"""The first task, trained once for all packs: what a run has come to when it ends, filed under all that it depends on.

What takes effect later (strengths of penalties, sizes of buffers, ...) cannot touch the first task, so the runs of a
search over it begin alike. Within a pack they share a row (see `stack`); here they share it with runs of packs to come,
on other machines too.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cfsweep import hypers
from cfsweep.training import own_code
from cfsweep.training.pack_context import PackContext
from cfsweep.training.spec import RunRecord
from cfsweep.training.stack import RowContent
from cfsweep.training.targets import class_weights

_ONLY_HERE = uuid.uuid4().hex
PROBED = 4  # examples that a network is shown, so that one whose code has changed is told apart


class FirstTaskCache(Protocol):
    """Where first tasks are found and left."""

    def get(self, keys: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of those `keys` that are there."""

    def put(self, contents: Mapping[str, bytes]) -> None:
        """Leaves contents by key, for other packs to find."""


@dataclass(frozen=True)
class FirstTask:
    """One run after the first task, before anything that takes effect later.

    `record` holds its results so far. `row` is what the stack holds of it, None if the run has failed. `statistics` are
    those of a network that cannot be lifted.
    """

    record: dict[str, Any]
    row: RowContent | None
    statistics: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        file = io.BytesIO()
        torch.save(vars(self), file)
        return file.getvalue()

    @staticmethod
    def from_bytes(content: bytes, device: torch.device) -> FirstTask:
        """Inverse of `to_bytes`."""
        return FirstTask(**torch.load(io.BytesIO(content), map_location=device, weights_only=True))

    @staticmethod
    def of(record: RunRecord, row: RowContent | None, statistics: dict[str, Tensor]) -> FirstTask:
        """That of the run with this record, whichever trial and seed it belongs to."""
        content = {name: value for name, value in asdict(record).items() if name not in ("trial", "seed")}
        return FirstTask(content, row, statistics)

    def record_of(self, trial: int, seed: int) -> RunRecord:
        """The record of a run that takes its first task from here."""
        own: dict[str, Any] = deepcopy(self.record)
        return RunRecord(trial, seed, **own)


def first_task_keys(context: PackContext, theta: Tensor) -> list[str]:
    """For each run of the pack, given the initial weights `theta` (runs, P), the SHA-256 of all that its first task
    depends on: data, network, settings, seed, the values that take effect in it, code and kind of device.

    The first task of `joint` is that of `naive`.
    """
    spec = {name: value for name, value in context.spec.to_dict().items() if name not in ("runs", "joint")}
    own = [_sources(kind) for kind in (*context.kinds, type(context.target))]
    own.append(_digests_or_here(own_code.modules_named(context.stream.augment)))
    stream = context.stream
    measured, weights_of = [score.name for score in context.scores], list(class_weights(stream))
    learned = [stream.target, measured, weights_of, stream.digest, stream.n_learned, stream.augment]
    common = [made_by(), own, _device_kind(context.device), learned, repr(context.lifted.module), spec]
    begins: dict[int, str] = {}
    for run, weights in zip(context.spec.runs, theta, strict=True):
        if run.seed not in begins:
            begins[run.seed] = _behaviour(context, weights)
    from_the_start = [h.name for h in context.hypers.values() if h.static or h.takes_effect != "later"]
    return [
        _hash([*common, run.seed, begins[run.seed], {name: run.values[name] for name in from_the_start}])
        for run in context.spec.runs
    ]


@cache
def made_by() -> str:
    """The SHA-256 of the code that trains, and of the versions of the libraries it trains with."""
    root = Path(__file__).parent
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    sources = {name: path.read_text() for name, path in (*files.items(), ("hypers", Path(hypers.__file__)))}
    return _hash([sources, torch.__version__, np.__version__])


@cache
def _sources(kind: type) -> dict[str, str]:
    """The hashes of the code that is no part of cfsweep; what was typed in nobody else can know."""
    return _digests_or_here(own_code.modules_of(kind))


def _digests_or_here(modules: Iterable[str]) -> dict[str, str]:
    return {name: digest or _ONLY_HERE for name, digest in own_code.digests(modules).items()}


def _behaviour(context: PackContext, weights: Tensor) -> str:
    """The SHA-256 of the initial weights (P,) and of what they make of some examples: of one's own network the source
    may lie anywhere, but if it computes something else it is another one."""
    context.lifted.module.eval()
    examples = torch.from_numpy(context.stream.tasks[0].train[:PROBED]).to(context.device)
    with torch.no_grad():
        logits = context.lifted.one(context.layout.unflatten(weights), context.store[examples])
    return hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in (weights, logits))).hexdigest()


def _device_kind(device: torch.device) -> str:
    """Devices of different kinds round differently."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
