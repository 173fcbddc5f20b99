"""The workers of a cluster that grows and shrinks, each from the moment when it has loaded what a pack needs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOOK_EVERY_S = 2.0


def _load() -> None:
    """Has this process load what a pack needs; Ray makes it a worker then."""
    from cfsweep.sweeping.ray_backend import preload  # noqa: F401


class WarmNodes:
    """Has a process for each worker that fits on a node load all, as soon as the node is there, where each worker takes
    these resources.

    Tune hands a pack that waits for a new worker to the first old one that is free, and ends the new one on its way: as
    long as it takes longer to start than a pack to train, a node that has joined would never be of use.
    """

    def __init__(self, each: Mapping[str, float]) -> None:
        self.each = each
        self.loading: dict[str, list[Any]] = {}  # by node: what its processes answer once they have loaded
        self.looked_at, self.n_warm = float("-inf"), 0

    def count(self) -> int:
        """How many workers there may be now; one at least."""
        if time.monotonic() - self.looked_at >= LOOK_EVERY_S:
            self.looked_at, self.n_warm = time.monotonic(), self._count()
        return max(1, self.n_warm)

    def _count(self) -> int:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        there = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        for name, resources in there.items():
            if name not in self.loading:
                fits = min(int(resources.get(of, 0.0) / amount) for of, amount in self.each.items())
                self.loading[name] = [self._load_on(name) for _ in range(fits)]
        waiting = [answer for name in there for answer in self.loading[name]]
        if not waiting:
            return 0
        return len(ray.wait(waiting, num_returns=len(waiting), timeout=0)[0])

    def _load_on(self, node: str) -> Any:
        return (
            ray.remote(_load)
            .options(
                num_cpus=self.each.get("CPU", 0),
                num_gpus=self.each.get("GPU", 0),
                max_retries=0,
                runtime_env={"env_vars": {}},  # as the actors of Tune have it, which are to get such processes
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote()
        )
