"""A tiny study, and the sweep's own local scheduler with faults on demand: the driver's other side without Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cfsweep.config import StudyConfig
from cfsweep.results.reader import read_table
from cfsweep.sweeping.broker import Fetched
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.local import LocalScheduler
from cfsweep.sweeping.pack_queue import PackJob
from cfsweep.sweeping.repairing import repair
from cfsweep.sweeping.scheduler import SweepPlan
from cfsweep.sweeping.search.asker import open_asker
from cfsweep.sweeping.space import check_space, check_study
from cfsweep.sweeping.worker import PackWorker, TaskResult
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.ingredients import registry
from cfsweep.training.pack import Pack, example_counts
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of

Fault = Callable[[str, Pack, Driver], None]

SEARCH: dict[str, Any] = {
    "ewc_lambda": {"low": 1.0, "high": 1e6, "log": True, "zero": True},
    "replay_ratio": {"low": 0.1, "high": 0.5, "zero": True},
}
FIXED: dict[str, Any] = {"epochs": 1, "batch_size": 128, "lr": 0.01, "replay_buffer": 20, "ewc_examples": 10}


class Killed(BaseException):
    """The driver's process is gone."""


class WorkerDied(BaseException):
    """The process that trains a pack is gone."""


def tiny(
    search: dict[str, Any] | None = None,
    fixed: dict[str, Any] | None = None,
    ingredients: tuple[str, ...] = ("ewc", "replay"),
    objective: str = "mixed",
    third: str | None = None,
    **changes: Any,
) -> StudyConfig:
    """A study that trains in a moment; `fixed` is added to what its space holds fixed."""
    search = SEARCH if search is None else search
    absent = {name for name in registry if name not in ingredients}
    held = {
        name: value
        for name, value in {**FIXED, **(fixed or {})}.items()
        if name not in search and name.partition("_")[0] not in absent
    }
    space = {"network": {"args": {"hidden": [8]}}, "ingredients": ingredients, "fixed": held, "search": search}
    study = {"trials": 6, "references": False, "stop_trials": False, "pack_runs": 4, **changes}
    return StudyConfig.model_validate(
        {"space": space, "objective": {"name": objective, "third": third}, **study},
    )


def nothing(pack_id: str, pack: Pack, driver: Driver) -> None:
    """No fault."""


class FaultyTrainer:
    """A pack before whose every step something may happen."""

    def __init__(self, pack: Pack, happens: Callable[[], None]) -> None:
        self.pack, self.happens = pack, happens
        self.train_next_task, self.report, self.checkpoint = pack.train_next_task, pack.report, pack.checkpoint
        self.models = pack.models

    @property
    def done(self) -> bool:
        return self.pack.done

    def drop(self, keys: Iterable[tuple[int, int]]) -> None:
        """What a worker asks for first in each step."""
        self.happens()
        self.pack.drop(keys)


class FaultyScheduler(LocalScheduler):
    """The local scheduler, with a `fault` before each step of a pack.

    `Killed` ends everything, `WorkerDied` the pack's worker; whatever else it raises is an error of the pack's code.
    """

    def __init__(self, interrupt: threading.Event, at_once: int, fault: Fault) -> None:
        super().__init__(interrupt, gpus=0, at_once=at_once)
        self.fault = fault

    def worker_for(self, plan: SweepPlan, driver: Driver, job: PackJob) -> PackWorker:
        worker = super().worker_for(plan, driver, job)
        open_pack = worker.open_trainer

        def open_trainer(fetched: Fetched) -> FaultyTrainer:
            pack = open_pack(fetched)
            return FaultyTrainer(pack, lambda: self.fault(job.pack_id, pack, driver))

        worker.open_trainer = open_trainer
        return worker

    def advance(self, worker: PackWorker, driver: Driver) -> TaskResult | None:
        try:
            return super().advance(worker, driver)
        except WorkerDied:
            driver.on_pack_failure(worker.pack_id, "the worker died", died=True)
            return None


class Sweep:
    """The study in `root`: `open` gives a new driver, as a sweep that begins or goes on does."""

    def __init__(self, root: Path, stream: Stream) -> None:
        self.folder, self.stream, self.interrupt = Folder(root), stream, threading.Event()

    def open(self, config: StudyConfig, workers: int = 2, **options: Any) -> Driver:
        folder, hypers = self.folder, check_space(config.space, "test")
        check_study(config, self.stream, "test")
        if not folder.exists():
            folder.create(config, hypers, self.stream)
        folder.checkpoints.mkdir(exist_ok=True)
        asker, size = open_asker(folder.journal, config, hypers), 8 if config.pack_runs == "auto" else config.pack_runs
        scores, counts = scores_of(self.stream), example_counts(self.stream)
        streams = [self.stream.of_split(number) for number in range(config.stream.splits)]
        scenario, parts = config.stream.scenario, config.parts
        constant = [constant_answer(s, scenario, parts) for s in streams] if folder.has_majority() else []
        return Driver(folder, config, hypers, asker, scores, counts, workers, size, constant, **options)

    def train(self, driver: Driver, fault: Fault = nothing) -> Driver:
        """Trains until the driver has finished, or `interrupt` is set."""
        plan = SweepPlan(driver.config, driver.hypers, self.stream, self.folder.checkpoints)
        FaultyScheduler(self.interrupt, driver.workers, fault).run(plan, driver, lambda: None)
        return driver

    def repair(self) -> list[str]:
        """What `cfsweep repair` says that it has done."""
        return repair(self.folder.root)

    def rows(self, table: str = "runs") -> list[dict[str, Any]]:
        """The rows of a table, in a fixed order."""
        found: list[dict[str, Any]] = read_table(self.folder.root, table).to_pylist()
        return sorted(found, key=lambda r: [r.get(k, 0) for k in ("trial", "seed", "after_task", "eval_task")])

    def matrices(self, table: str = "accuracy") -> dict[tuple[int, int], list[float]]:
        """The accuracies of each (trial, seed), row after row."""
        found: dict[tuple[int, int], list[float]] = {}
        for row in self.rows(table):
            found.setdefault((row["trial"], row["seed"]), []).append(row["accuracy"])
        return found
