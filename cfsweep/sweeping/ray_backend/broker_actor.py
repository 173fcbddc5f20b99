"""The broker as an actor on the driver's machine, and as a worker sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray

from cfsweep.sweeping.broker import Broker, Fetched, Key


class StreamBroker(Broker):
    """A broker that also says where the stream lies."""

    stream: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[str, Any] = {}  # who has fetched a pack last
        self.not_fetched: dict[str, float] = {}  # packs that were handed out, and when
        self.between_packs: dict[Any, float] = {}  # who has come to the end of a pack, and when

    def open_with_stream(self, checkpoints: str, stream: Any) -> None:
        """Clears it for a sweep over `stream`, a list of one reference (a bare one would be resolved on its way)."""
        self.open(checkpoints)
        self.not_fetched.clear()
        self.between_packs.clear()
        self.stream = stream

    def stream_reference(self) -> Any:
        return self.stream

    def put(self, pack_id: str, spec: dict[str, Any], dropped: set[Key]) -> None:
        super().put(pack_id, spec, dropped)
        self.workers.pop(pack_id, None)
        self.not_fetched[pack_id] = time.monotonic()

    def fetch_for(self, pack_id: str, worker: list[Any]) -> Fetched:
        """A pack, for a worker whose handle is given (in a list, as it would be resolved on its way)."""
        (self.workers[pack_id],) = worker
        self.not_fetched.pop(pack_id, None)
        self.between_packs.pop(worker[0], None)
        return self.fetch(pack_id)

    def close(self, pack_id: str) -> None:
        self.not_fetched.pop(pack_id, None)
        if pack_id in self.workers:
            self.between_packs[self.workers.pop(pack_id)] = time.monotonic()
        super().close(pack_id)

    def take_silent(self, after_s: float) -> dict[str, list[Any]]:
        """The handles of the workers of whom nothing was heard for so long, by pack; each is given once. Who is between
        two packs is among them where a pack was not fetched for as long: nobody knows who should have."""
        now = time.monotonic()
        silent = {pack_id: self.workers.pop(pack_id) for pack_id in self.silent(after_s) if pack_id in self.workers}
        packs = [pack_id for pack_id, since in self.not_fetched.items() if now - since >= after_s]
        between = [worker for worker, since in self.between_packs.items() if now - since >= after_s]
        for pack_id, worker in zip(packs, between, strict=False):
            silent[pack_id] = worker
            del self.between_packs[worker]
            self.not_fetched[pack_id] = now  # another one is to fetch it, which has as long
        return {pack_id: [worker] for pack_id, worker in silent.items()}


BrokerActor = ray.remote(num_cpus=0)(StreamBroker)


class RemoteBroker:
    """Asks the actor; it is a `BrokerClient`."""

    def __init__(self, name: str, namespace: str) -> None:
        self.actor: Any = ray.get_actor(name, namespace)

    def set_aside(self, pack_id: str) -> None:
        ray.get(self.actor.set_aside.remote(pack_id))

    def fetch(self, pack_id: str) -> Fetched:
        worker = ray.get_runtime_context().current_actor
        return Fetched(*ray.get(self.actor.fetch_for.remote(pack_id, [worker])))

    def dropped_from(self, pack_id: str) -> set[Key] | None:
        dropped: set[Key] | None = ray.get(self.actor.dropped_from.remote(pack_id))
        return dropped

    def save(self, pack_id: str, checkpoint: bytes) -> object:
        return self.actor.save.remote(pack_id, checkpoint)  # nobody waits for it

    def keep(self, pack_id: str, models: Mapping[Key, bytes]) -> bool:
        kept: bool = ray.get(self.actor.keep.remote(pack_id, models))
        return kept

    def stream_reference(self) -> Any:
        """The reference to the stream."""
        (reference,) = ray.get(self.actor.stream_reference.remote())
        return reference

    def get_first_tasks(self, keys: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = ray.get(self.actor.get_first_tasks.remote(keys))
        return found

    def put_first_tasks(self, contents: Any) -> object:
        return self.actor.put_first_tasks.remote(contents)
