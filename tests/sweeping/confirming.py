"""Confirms trials of a sweep in this process, with faults on demand, and what is looked at afterwards."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfsweep.config import FRESH, PARTS
from cfsweep.results.schema import model_path
from cfsweep.sweeping import schedulers
from cfsweep.sweeping.confirm import Purpose, confirm
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.packing import pack_runs
from cfsweep.sweeping.progress import Calls
from cfsweep.sweeping.scheduler import Workers
from cfsweep.sweeping.search.asker import open_asker
from cfsweep.sweeping.space import check_space
from cfsweep.sweeping.study import Outcome, Prepared
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import Fault, FaultyScheduler, Sweep, nothing, tiny

SEARCH = {"lr": {"choices": [0.01, 0.003]}, "ewc_lambda": {"low": 1.0, "high": 1e6, "log": True, "zero": True}}
CONFIG = tiny(SEARCH, {"replay_ratio": 0.25}, trials=12, references=True)


Confirmed = Callable[..., Outcome]


def confirmer(root: Path, monkeypatch: pytest.MonkeyPatch) -> Confirmed:
    """Confirms trials of the sweep in `root`, in this process, with a `fault` before each step."""

    def call(
        *trials: int,
        references: tuple[int, ...] = (),
        seeds: int = 1,
        purpose: Purpose = "confirm",
        fault: Fault = nothing,
        accept_changes: bool = False,
    ) -> Outcome:
        @contextmanager
        def scheduler(
            workers: Workers, work: Callable[[], Prepared], restarts: object
        ) -> Iterator[tuple[FaultyScheduler, Prepared]]:
            yield FaultyScheduler(threading.Event(), 1, fault), work()

        monkeypatch.setattr(schedulers, "open_scheduler", scheduler)
        return confirm(root, trials, references, seeds, purpose, Workers(0), Calls(None), accept_changes=accept_changes)

    return call


def noted(trained: Counter[tuple[tuple[int, int], int]]) -> Fault:
    """Counts how often each run is trained on each task."""

    def fault(pack_id: str, pack: Pack, driver: Driver) -> None:
        trained.update((run.key, pack.next_task) for run in pack.spec.runs if not pack.done)

    return fault


def keys(sweep: Sweep) -> list[tuple[int, int]]:
    return [(row["trial"], row["seed"]) for row in sweep.rows()]


def all_of(sweep: Sweep) -> list[Any]:
    """All that was found out."""
    apart = ("train_s", "started_at", "peak_bytes", "attempt")
    tables = [[{k: v for k, v in row.items() if k not in apart} for row in sweep.rows(t)] for t in ("runs", "buffers")]
    return [*tables, sweep.matrices(), sweep.matrices("test")]


def restored(sweep: Sweep, key: tuple[int, int], stream: Stream) -> Pack:
    """The model of a run."""
    pack = Pack.restore(model_path(sweep.folder.root, key).read_bytes(), stream)
    assert pack is not None
    return pack


def trained_apart(
    root: Path, trials: list[int], seeds: int, stream: Stream, parts: tuple[str, ...] = PARTS
) -> list[Pack]:
    """By `Pack` alone: these trials, with the settings that Optuna had asked for, and so many fresh seeds."""
    config, _ = Folder(root).read()
    hypers = check_space(config.space, "test")
    asked = open_asker(Folder(root).journal, config, hypers).ended(trials)
    runs = [RunSpec(p.number, FRESH + seed, p.values) for p in asked for seed in range(seeds)]
    packs = [Pack(replace(spec, parts=parts), stream) for spec in pack_runs(config, hypers, runs, 4)]
    for pack in packs:
        while not pack.done:
            pack.train_next_task()
    return packs


def flat(rows: list[list[float]]) -> list[float]:
    return [cell for row in rows for cell in row]
