"""A tiny study, and a scheduler that runs its packs in this process: the driver's other side without Ray."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cfsweep.config import StudyConfig
from cfsweep.results.reader import read_table
from cfsweep.sweep.desk import DeskState
from cfsweep.sweep.driver import Driver
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.journal import open_study
from cfsweep.sweep.prefixes import recur
from cfsweep.sweep.space import check_study
from cfsweep.training.ingredients import registry
from cfsweep.training.engine.device_memory import is_out_of_memory
from cfsweep.training.pack import Pack, example_counts
from cfsweep.training.spec import PackSpec
from cfsweep.training.streams import Stream

Fault = Callable[[str, Pack, Driver], None]

SEARCH: dict[str, Any] = {
    "ewc_lambda": {"low": 1.0, "high": 1e6, "log": True, "zero": True},
    "replay_ratio": {"low": 0.1, "high": 0.5, "zero": True},
}
FIXED: dict[str, Any] = {"epochs": 1, "batch_size": 128, "lr": 0.01, "replay_buffer": 20, "ewc_examples": 10}


class Killed(Exception):
    """The driver's process is gone."""


class WorkerDied(Exception):
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
    study = {"trials": 6, "references": False, "early_stopping": False, "pack_runs": 4, **changes}
    return StudyConfig.model_validate(
        {"space": space, "objective": {"name": objective, "third": third}, **study},
    )


def nothing(pack_id: str, pack: Pack, driver: Driver) -> None:
    """No fault."""


class Sweep:
    """The study in `root`: `open` gives a new driver, as a sweep that begins or goes on does."""

    def __init__(self, root: Path, stream: Stream) -> None:
        self.folder, self.stream = Folder(root), stream

    def open(self, config: StudyConfig, workers: int = 2, **options: Any) -> Driver:
        folder, hypers = self.folder, check_study(config, len(self.stream.tasks), "test")
        if not folder.exists():
            folder.create(config, hypers, self.stream)
        folder.checkpoints.mkdir(exist_ok=True)
        study, size = open_study(folder.journal, config), 8 if config.pack_runs == "auto" else config.pack_runs
        return Driver(folder, config, hypers, study, example_counts(self.stream), workers, size, **options)

    def train(self, driver: Driver, fault: Fault = nothing) -> Driver:
        """Advances the packs in turn, one task each, until the driver has finished.

        `fault` comes before each step: `Killed` ends everything, `WorkerDied` the pack's worker; whatever else it
        raises is an error of the pack's code.
        """
        desk = DeskState()
        desk.open(str(self.folder.checkpoints), None)
        driver.drop, driver.close = desk.drop, desk.close
        config = driver.config
        prefixes = desk.prefixes if recur(config.space, driver.hypers, config.trials) else None
        active: dict[str, Pack] = {}
        while True:
            while len(active) < driver.workers and (issued := driver.next_pack()):
                desk.put(issued.pack_id, issued.spec.to_dict())
                desk.drop(issued.pack_id, driver.ended_runs(issued))
                spec, saved, _ = desk.fetch(issued.pack_id)
                sharing = (config.share_prefix, prefixes)
                fresh = Pack(PackSpec.from_dict(spec), self.stream, "cpu", *sharing)
                active[issued.pack_id] = Pack.restore(saved, self.stream) if saved else fresh
            if not active:
                assert driver.finished
                if driver.complete:
                    desk.clear_prefixes()
                return driver
            for pack_id, pack in list(active.items()):
                try:
                    fault(pack_id, pack, driver)
                    pack.drop(desk.dropped_from(pack_id))
                    report = pack.report() if pack.done else pack.step()
                except Killed:
                    raise
                except Exception as error:
                    del active[pack_id]
                    reason = f"{type(error).__name__}: {error}"
                    driver.lose(pack_id, reason, isinstance(error, WorkerDied), is_out_of_memory(error))
                    continue
                if not report.done:
                    desk.save(pack_id, pack.checkpoint())
                driver.take_report(pack_id, pickle.loads(pickle.dumps(report)))
                if report.done:
                    del active[pack_id]
                driver.tick()

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
