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
from cfsweep.sweep import launch, study
from cfsweep.sweep.cluster import Workers, connected
from cfsweep.sweep.folder import Folder, check_data
from cfsweep.sweep.progress import Display
from cfsweep.sweep.space import check_study

AT_LEAST_TASKS = 2  # of every stream here; how many more there are is known once it is loaded


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
            if data is not None:
                stream = config.stream.model_copy(update={"data": str(data.expanduser().absolute())})
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
    if there.study_id != job.config.study_id:
        raise InputError(
            f"{job.folder}: it holds study {there.study_id}, but {job.key} is now {job.config.study_id}: the row or "
            "the number of seeds has changed. Remove the folder, or choose another with --out."
        )
    return status(job.folder).complete


def check(jobs: Sequence[Job]) -> None:
    """Finds what cannot work before anything is trained.

    Raises:
        InputError: a row asks for an ingredient or a hyperparameter that there is not, or in a scenario that the
            ingredient does not know.
    """
    for job in jobs:
        check_study(job.config, AT_LEAST_TASKS, job.key)


def run(jobs: Sequence[Job], workers: Workers, console: Console) -> bool:
    """Trains the jobs that are not complete, one after the other; returns False if it was interrupted.

    Ray is started once for all of them, and not at all where nothing is left.

    Raises:
        InputError: a job's folder or its study is wrong, or the data has changed.
    """
    check(jobs)
    left = [job for job in jobs if not complete(job)]
    console.print(f"{len(jobs) - len(left)} of {len(jobs)} rows are complete", highlight=False)
    if not left:
        return True
    with connected(workers) as up:
        for number, job in enumerate(left, 1):
            console.print(f"{number} of {len(left)}: {job.key}", highlight=False)
            started = time.monotonic()
            prepared = study.prepare(job.config, job.key)
            folder = Folder(job.folder)
            with folder.locked():
                if folder.exists():
                    check_data(prepared.stream, folder.read()[1], folder.study_file)
                else:
                    folder.refuse_other_content()
                    folder.create(job.config, prepared.hypers, prepared.stream)
                sweep = (folder, job.config, prepared.hypers, prepared.stream, workers, Display(console), up)
                if launch.sweep(*sweep):
                    return False
            gc.collect()  # lets go of the study's stream
            console.print(f"   {time.monotonic() - started:.0f} s", highlight=False)
    return True
