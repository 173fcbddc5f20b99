"""Packs that are too large for a worker's memory, which is made to run out: see `in_process`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cfsweep.sweeping.driver import Driver
from cfsweep.training.engine.device_memory import is_out_of_memory
from cfsweep.training.pack import Pack
from tests.sweeping.in_process import Fault, Sweep, tiny


def room_for(n_runs: int, seen: list[int], from_task: int = 0) -> Fault:
    """A memory that holds `n_runs` runs; from `from_task` on, before which a shared row is enough. Notes each pack."""

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        if pack.next_task == from_task:
            seen.append(len(pack.stack.alive))
            if len(pack.stack.alive) > n_runs:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return fault


@pytest.mark.parametrize("from_task", [0, 2])
def test_a_pack_is_halved_until_it_fits_and_no_run_is_lost(sweep: Sweep, from_task: int) -> None:
    seen: list[int] = []
    driver = sweep.train(sweep.open(tiny(trials=20, pack_runs=9), workers=1), room_for(3, seen, from_task))
    assert [(row["trial"], row["state"], row["failure"]) for row in sweep.rows()] == [
        (trial, "done", None) for trial in range(20)
    ]
    assert seen[:4] == [9, 5, 4, 3]
    assert driver.pack_size == 2  # 9, 5, 3, and the 4 had to be halved too
    assert all(n <= 3 for n in seen[3:])
    assert driver.complete
    assert list(sweep.folder.checkpoints.iterdir()) == []


def test_the_results_are_those_of_packs_that_fitted_at_once(sweep: Sweep, tmp_path: Any) -> None:
    small = Sweep(tmp_path / "small", sweep.stream)
    config = tiny(trials=4, pack_runs=4, seeds=1)
    sweep.train(sweep.open(config, workers=1), room_for(2, []))
    whole = small.train(small.open(config, workers=1))
    assert whole.pack_size == 4
    assert sweep.matrices() == small.matrices()


def test_seeds_of_one_trial_are_parted_too(sweep: Sweep) -> None:
    seen: list[int] = []
    sweep.train(sweep.open(tiny(trials=2, seeds=5, pack_runs=10), workers=1), room_for(2, seen))
    assert [(row["trial"], row["seed"], row["state"]) for row in sweep.rows()] == [
        (trial, seed, "done") for trial in range(2) for seed in range(5)
    ]


def test_a_run_that_does_not_fit_alone_fails_and_says_why(sweep: Sweep) -> None:
    driver = sweep.train(sweep.open(tiny(trials=3, pack_runs=3), workers=1), room_for(0, []))
    assert driver.complete
    for row in sweep.rows():
        assert row["state"] == "failed"
        assert row["failure"].startswith("a run alone does not fit into its worker's memory (OutOfMemoryError: CUDA")
        assert row["failure"].endswith("Take a smaller network or batch.")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_which_errors_are_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_cpu_without_memory_says_so_in_words_that_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62 // 8, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
