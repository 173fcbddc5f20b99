"""How many runs go into a pack that is left to the sweep: with memories that are made up, and none of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.counting import count
from cfsweep.config import NetworkConfig
from cfsweep.sweeping import pack_size
from cfsweep.sweeping.pack_size import (
    ON_CPU,
    fitting_runs,
    most_runs,
    pack_peak,
    pack_size_beside_memory,
    probe,
    runs_that_fit,
)
from cfsweep.sweeping.space import check_space
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import tiny


def memory(budget: int, *phases: tuple[int, int]) -> Callable[[int], int]:
    """The peak of phases that each take (bytes once, bytes per run); more than `budget` cannot be had."""

    def peak(n: int) -> int:
        needed = max(once + each * n for once, each in phases)
        if needed > budget:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return needed

    return peak


@pytest.mark.parametrize(
    ("phases", "budget", "expected"),
    [
        ([(100, 10)], 100_000, 9990),
        ([(0, 10)], 100_000, 10_000),
        ([(3000, 1), (0, 10)], 100_000, 10_000),  # small packs show the phase that does not count
        ([(90_000, 100)], 100_000, 100),
        ([(0, 60_000)], 100_000, 1),  # two are out of memory
        ([(0, 40_000)], 100_000, 2),
    ],
)
def test_as_many_as_fit(phases: list[tuple[int, int]], budget: int, expected: int) -> None:
    found = fitting_runs(memory(budget, *phases), budget, most=10**6)
    assert found == expected
    memory(budget, *phases)(found)


def test_no_more_than_are_wanted_and_at_least_one() -> None:
    assert fitting_runs(memory(10**9, (0, 10)), 10**9, most=48) == 48
    assert fitting_runs(memory(10**9, (0, 10)), 10**9, most=1) == 1
    assert fitting_runs(memory(10**9, (200, 0)), 100, most=48) == 1
    with pytest.raises(torch.OutOfMemoryError):
        fitting_runs(memory(50, (100, 0)), 50, most=48)


def test_an_error_that_is_not_about_memory_is_not_hidden() -> None:
    def peak(n: int) -> int:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fitting_runs(peak, 100, 10)


def test_the_sampler_learns_in_between() -> None:
    assert most_runs(tiny(trials=1000), workers=1) == 125
    assert most_runs(tiny(trials=1000, seeds=3), workers=4) == 94
    assert most_runs(tiny(trials=10), workers=2) == ON_CPU


def test_the_probe_has_what_takes_most_memory(stream: Stream) -> None:
    search: dict[str, Any] = {
        "batch_size": {"choices": [16, 64, 32]},
        "epochs": {"choices": [1, 7]},
        "lr": {"low": 0.001, "high": 10.0, "log": True},
        "ewc_examples": {"choices": [10, 40]},
        "ewc_lambda": {"low": 1.0, "high": 100.0, "log": True, "zero": True},
        "optimizer": {"choices": ["sgd", "adam"]},
    }
    config = tiny(search, ingredients=("ewc",))
    hypers = check_space(config.space, "test")
    spec = probe(config, hypers, 3)
    assert [run.seed for run in spec.runs] == [0, 1, 2]
    (values,) = {tuple(run.values.items()) for run in spec.runs}
    assert (
        dict(values).items()
        >= {"batch_size": 64, "epochs": 1, "lr": 0.001, "ewc_examples": 40, "ewc_lambda": 100.0}.items()
    )


def test_a_pack_is_tried_in_both_kinds_of_task_and_its_orders_are_added(stream: Stream) -> None:
    config = tiny({}, fixed={"epochs": 3}, ingredients=("ewc", "replay"))
    hypers = check_space(config.space, "test")
    moved: list[int] = []

    def meter(act: Callable[[], None]) -> int:
        moved.append(count(act).bytes)
        return moved[-1]

    peak = pack_peak(config, hypers, stream, "cpu", meter)
    orders = 2 * 8 * 3 * max(len(task.train) for task in stream.tasks)  # the examples, and their labels
    peak(1)  # the first pack of a process makes the examples ready for those to come
    assert [peak(n) - moved[-1] for n in (1, 4)] == [orders, 4 * orders]
    assert moved[2] > 1.5 * moved[1]


def test_where_no_memory_decides(stream: Stream) -> None:
    assert pack_size_beside_memory(tiny(pack_runs="auto"), stream, on_gpu=False) == ON_CPU
    assert pack_size_beside_memory(tiny(pack_runs="auto"), stream, on_gpu=True) is None
    for on_gpu in (False, True):
        assert pack_size_beside_memory(tiny(pack_runs=500), stream, on_gpu) == 500
    config = tiny(pack_runs="auto")
    moody = NetworkConfig(name="tests.sweeping.networks:moody")
    config = config.model_copy(update={"space": config.space.model_copy(update={"network": moody})})
    assert pack_size_beside_memory(config, stream, on_gpu=True) == 1, "it cannot be lifted over runs"


def test_a_gpu_is_measured_and_shared(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 1 GiB that is made up: a run takes 1 MiB."""
    config = tiny(pack_runs="auto", trials=10**6)
    hypers = check_space(config.space, "test")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 2**30))
    monkeypatch.setattr(pack_size, "pack_peak", lambda *args: memory(2**30, (0, 2**20)))
    fits = {share: runs_that_fit(config, hypers, stream, share, 10**6) for share in (1.0, 0.5, 2.0)}
    assert fits == {1.0: 819, 0.5: 409, 2.0: 819}
    monkeypatch.setattr(pack_size, "pack_peak", lambda *args: memory(2**30, (2**31, 0)))
    assert runs_that_fit(config, hypers, stream, 1.0, 10**6) == 1


@pytest.mark.parametrize(("purpose", "parts"), [("sweep", ("validation",)), ("confirm", ("validation", "test"))])
def test_what_is_tried_is_scored_as_the_study_is(purpose: str, parts: tuple[str, ...]) -> None:
    """A sweep's trial packs do not look at test data either."""
    config = tiny(purpose=purpose)
    assert probe(config, check_space(config.space, "test"), 2).parts == parts
