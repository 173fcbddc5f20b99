"""How many runs go into a pack on Ray: a worker with a GPU is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from cfsweep.config import NetworkConfig
from cfsweep.sweeping.pack_size import ON_CPU, most_runs
from cfsweep.sweeping.ray_backend import pack_size
from cfsweep.sweeping.ray_backend.pack_size import pack_size_on_ray
from cfsweep.sweeping.ray_backend.trainable import pack_stream
from cfsweep.sweeping.scheduler import SweepPlan
from cfsweep.sweeping.space import check_space
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import tiny


@pytest.mark.parametrize(
    ("pack_runs", "resources", "expected"),
    [("auto", {"CPU": 1}, ON_CPU), (5, {"CPU": 1}, 5), (500, {"CPU": 1, "GPU": 1.0}, 500)],
)
def test_on_a_cpu_and_where_it_is_said_nobody_is_asked(
    pack_runs: int | str, resources: dict[str, float], expected: int, stream: Stream, tmp_path: Path
) -> None:
    config = tiny(pack_runs=pack_runs)
    plan = SweepPlan(config, check_space(config.space, "test"), stream, tmp_path)
    assert pack_size_on_ray(plan, None, 1, resources, threading.Event()) == expected


def test_a_worker_measures_its_share_of_its_gpu(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    config, asked = tiny(pack_runs="auto"), list[tuple[object, ...]]()

    def fits(*args: object) -> int:
        asked.append(args)
        return 7

    hypers = check_space(config.space, "test")
    monkeypatch.setattr(pack_size.ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(pack_size.ray, "get", lambda reference: reference)
    monkeypatch.setattr(pack_size, "unpack_stream", lambda content: content)
    monkeypatch.setattr(pack_size, "runs_that_fit", fits)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == (7 if torch.cuda.is_available() else ON_CPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == 7
    assert asked[-1] == (config, hypers, stream, 0.5, 99)
    monkeypatch.setattr(pack_size.ray, "get_gpu_ids", list)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == ON_CPU


def test_a_worker_is_asked_with_a_reference_that_stays_one(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, asked = tiny(pack_runs="auto", trials=160), list[Any]()

    class Ray:
        """Calls at once what it is to call on a worker."""

        @staticmethod
        def remote(**resources: Any) -> Any:
            def wrap(act: Any) -> Any:
                asked.append((resources, act))
                return SimpleNamespace(remote=lambda *args: asked.append(args) or 7)

            return wrap

        @staticmethod
        def wait(answers: list[int], timeout: float) -> tuple[list[int], list[int]]:
            return ([], answers) if len(asked) == 2 and asked.append("waited") is None else (answers, [])

        get = staticmethod(lambda answer: answer)

    monkeypatch.setattr(pack_size, "ray", Ray)
    plan = SweepPlan(config, check_space(config.space, "test"), stream, tmp_path)
    assert pack_size_on_ray(plan, "reference", 2, {"CPU": 1, "GPU": 0.5}, threading.Event()) == 7
    resources, act = asked[0]
    assert (resources, act) == ({"num_gpus": 0.5, "num_cpus": 1, "max_calls": 1}, pack_size.fit_here)
    assert asked[1:] == [(config, plan.hypers, ["reference"], 0.5, most_runs(config, 2)), "waited"]
    asked.clear()
    interrupted = threading.Event()
    interrupted.set()
    assert pack_size_on_ray(plan, "reference", 2, {"CPU": 1, "GPU": 0.5}, interrupted) == ON_CPU, "nobody waits"


@pytest.mark.slow
def test_the_question_reaches_a_worker(stream: Stream, tmp_path: Path) -> None:
    """Ray is told of a GPU that is not there, and the worker finds that it has none."""
    config = tiny(pack_runs="auto")
    plan = SweepPlan(config, check_space(config.space, "test"), stream, tmp_path)
    ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        packed = ray.put(pack_stream(stream, NetworkConfig()))
        fits = pack_size_on_ray(plan, packed, 1, {"CPU": 1, "GPU": 1.0}, threading.Event())
        assert fits == ON_CPU or torch.cuda.is_available()
    finally:
        ray.shutdown()
