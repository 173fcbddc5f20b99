"""How many runs fit into a pack on the workers' GPUs: a worker is asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import ray
import torch

from cfsweep.config import StudyConfig
from cfsweep.hypers import Hyper
from cfsweep.sweeping.pack_size import ON_CPU, most_runs, pack_size_beside_memory, runs_that_fit
from cfsweep.sweeping.ray_backend.trainable import unpack_stream
from cfsweep.sweeping.scheduler import SweepPlan
from cfsweep.training.plugins import named


def fit_here(
    config: StudyConfig, hypers: Mapping[str, Hyper], stream_ref: list[Any], gpus_each: float, most: int
) -> int:
    """The most runs that fit on the GPU of the Ray worker that this is called in. `stream_ref` holds one reference."""
    named(config.model_dump())  # the driver has asked whether its code may run
    if not ray.get_gpu_ids() or not torch.cuda.is_available():
        return ON_CPU
    return runs_that_fit(config, hypers, unpack_stream(ray.get(stream_ref[0])), gpus_each, most)


def pack_size_on_ray(
    plan: SweepPlan, stream_ref: Any, workers: int, resources: Mapping[str, float], interrupt: threading.Event
) -> int:
    """The most runs in a pack: as the study says, or, where it leaves it open, what suits the workers' `resources`.

    Asks a worker where they have GPUs, which takes some seconds; `interrupt` ends the waiting.
    """
    gpus_each = resources.get("GPU", 0.0)
    size = pack_size_beside_memory(plan.config, plan.stream, on_gpu=gpus_each > 0)
    if size is not None:
        return size
    asked = ray.remote(num_gpus=gpus_each, num_cpus=1, max_calls=1)(fit_here)  # it takes its memory with it
    most = most_runs(plan.config, workers)
    answer = asked.remote(plan.config, dict(plan.hypers), [stream_ref], gpus_each, most)
    while not ray.wait([answer], timeout=1.0)[0]:
        if interrupt.is_set():
            return ON_CPU
    fitting: int = ray.get(answer)
    return fitting
