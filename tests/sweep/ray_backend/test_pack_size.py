"""How many runs go into a pack on Ray: a worker with a GPU is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from cfsweep.sweep.pack_size import ON_CPU
from cfsweep.sweep.ray_backend import pack_size
from cfsweep.sweep.scheduler import SweepPlan
from cfsweep.sweep.space import check_space
from cfsweep.training.streams import Stream
from tests.sweep.in_process import tiny


@pytest.mark.parametrize(
    ("pack_runs", "resources", "expected"),
    [("auto", {"CPU": 1}, ON_CPU), (5, {"CPU": 1}, 5), (500, {"CPU": 1, "GPU": 1.0}, 500)],
)
def test_on_a_cpu_and_where_it_is_said_nobody_is_asked(
    pack_runs: int | str, resources: dict[str, float], expected: int, stream: Stream, tmp_path: Path
) -> None:
    config = tiny(pack_runs=pack_runs)
    plan = SweepPlan(config, check_space(config.space, "test"), stream, tmp_path)
    assert pack_size.chosen(plan, None, 1, resources, threading.Event()) == expected


def test_a_worker_measures_its_share_of_its_gpu(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    config, asked = tiny(pack_runs="auto"), list[tuple[object, ...]]()

    def fits(*args: object) -> int:
        asked.append(args)
        return 7

    hypers = check_space(config.space, "test")
    monkeypatch.setattr(pack_size.ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(pack_size.ray, "get", lambda reference: reference)
    monkeypatch.setattr(pack_size, "unpack_stream", lambda content: content)
    monkeypatch.setattr(pack_size, "fits_on_gpu", fits)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == (7 if torch.cuda.is_available() else ON_CPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == 7
    assert asked[-1] == (config, hypers, stream, 0.5, 99)
    monkeypatch.setattr(pack_size.ray, "get_gpu_ids", list)
    assert pack_size.fit_here(config, hypers, [stream], 0.5, 99) == ON_CPU


def test_a_worker_is_asked_what_fits(ray_facts: dict[str, Any]) -> None:
    """Ray is told of a GPU that is not there: the question reaches a worker, which finds that it has none."""
    assert ray_facts["resources"]["GPU"] == 1
    assert ray_facts["fits"] == ON_CPU or torch.cuda.is_available()
