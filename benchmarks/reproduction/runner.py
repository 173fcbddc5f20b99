"""Trains what is not yet there: each row is one study in a folder of its own, by the code path of `cfsweep run`."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.reproduction.model import Row, Table
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.status import status
from cfsweep.sweep import study
from cfsweep.sweep.folder import Folder
from cfsweep.sweep.progress import Display
from cfsweep.sweep.scheduler import Workers
from cfsweep.sweep.schedulers import open_scheduler
from cfsweep.sweep.space import check_space
from cfsweep.training.ingredients import ingredient_class, refuse_misfits


@dataclass(frozen=True)
class Job:
    """A row with its study as it is to be run, and its folder."""

    key: str
    row: Row
    config: StudyConfig
    folder: Path


def jobs_of(tables: Sequence[Table], out: Path, seeds: int, data: Path | None) -> list[Job]:
    """The jobs of all rows, in the order of the tables."""
    jobs = []
    for table in tables:
        for row in table.rows:
            config = row.study_for(seeds)
            place = {} if data is None else {"data": str(data.expanduser().absolute())}
            # All are of images. It is part of a study's id, which is asked for before the images are loaded.
            stream = config.stream.model_copy(update={"standardise": "scalar", **place})
            config = config.model_copy(update={"stream": stream})
            jobs.append(Job(table.key(row), row, config, out / table.key(row)))
    return jobs


def complete(job: Job) -> bool:
    """Whether the job's study has nothing left to train.

    Raises:
        InputError: its folder holds another study (a row or the number of seeds was changed since).
    """
    folder = Folder(job.folder)
    if not folder.exists():
        return False
    there, _ = folder.read()
    now = job.config.model_copy(update={"identity_version": there.identity_version}).study_id
    if there.study_id != now:
        raise InputError(
            f"{job.folder}: it holds study {there.study_id}, but {job.key} is now {now}: the row or the number of "
            "seeds has changed. Remove the folder, or choose another with --out."
        )
    return status(job.folder).complete


def check(jobs: Sequence[Job]) -> None:
    """Finds what cannot work before anything is trained.

    Raises:
        InputError: a row asks for an ingredient or a hyperparameter that there is not, or in a scenario that the
            ingredient does not know.
    """
    for job in jobs:
        check_space(job.config.space, job.key)
        kinds = [ingredient_class(name, job.key) for name in job.config.space.ingredients]
        refuse_misfits(kinds, job.config.stream.scenario, job.config.stream.target, job.key)


def run(jobs: Sequence[Job], workers: Workers, console: Console) -> bool:
    """Trains the jobs that are not complete, one after the other; returns False if it was interrupted.

    The workers are started once for all of them, and not at all where nothing is left.

    Raises:
        InputError: a job's folder or its study is wrong, or the data has changed.
    """
    check(jobs)
    left = [job for job in jobs if not complete(job)]
    console.print(f"{len(jobs) - len(left)} of {len(jobs)} rows are complete", highlight=False)
    if not left:
        return True
    with open_scheduler(workers, lambda: None) as (scheduler, _):
        for number, job in enumerate(left, 1):
            console.print(f"{number} of {len(left)}: {job.key}", highlight=False)
            started = time.monotonic()
            prepared = study.prepare(job.config, job.key)
            if study.begin(prepared, job.folder, scheduler, Display(console, live=workers.count != 0)).interrupted:
                return False
            del prepared
            gc.collect()  # lets go of the study's stream
            console.print(f"   {time.monotonic() - started:.0f} s", highlight=False)
    return True
