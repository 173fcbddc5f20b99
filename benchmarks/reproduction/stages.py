"""The studies that a row is made of: its search, where it has one, and the measurement of what was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import analysis
from benchmarks.reproduction.model import Budget, Row, Table
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, NoAnswerError
from cfsweep.hypers import Value
from cfsweep.results.status import status
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.space import with_steering

StageName = Literal["search", "measure"]
SEARCH: StageName = "search"
MEASURE: StageName = "measure"


@dataclass(frozen=True)
class Job:
    """A row with its budget, the seeds of the main rows, where the data lies, and its folder: one for each stage goes
    in there."""

    key: str
    row: Row
    budget: Budget
    seeds: int
    data: Path | None
    folder: Path

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The names of its stages, in their order."""
        return (SEARCH, MEASURE) if self.row.searched else (MEASURE,)


@dataclass(frozen=True)
class Stage:
    """One study of a row as it is to be run, and its folder."""

    key: str
    name: StageName
    config: StudyConfig
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.key}, {self.name}"


def jobs_of(tables: Sequence[Table], out: Path, seeds: int, data: Path | None) -> list[Job]:
    """The jobs of all rows, in the order of the tables."""
    return [
        Job(table.key(row), row, table.budget, seeds, data, out / table.key(row))
        for table in tables
        for row in table.rows
    ]


def stage_of(job: Job, name: StageName) -> Stage | None:
    """The study of one stage; None for the measurement while nothing is chosen: the search is not complete, or no trial
    of it went all the way.

    Raises:
        InputError: the search's folder holds another study.
    """
    if name == SEARCH:
        return _stage(job, name, job.row.search_study(job.budget))
    chosen = _chosen(job) if job.row.searched else {}
    return None if chosen is None else _stage(job, name, job.row.measured_study(job.seeds, chosen))


def planned(job: Job) -> Stage:
    """The job's first stage, which is known before anything is trained."""
    stage = stage_of(job, job.stages[0])
    assert stage is not None
    return stage


def complete_stages(job: Job) -> Iterator[Stage]:
    """Those of its stages of which nothing is left to train.

    Raises:
        InputError: a folder holds another study.
    """
    for name in job.stages:
        stage = stage_of(job, name)
        if stage is not None and complete(stage):
            yield stage


def complete(stage: Stage) -> bool:
    """Whether the study has nothing left to train.

    Raises:
        InputError: its folder holds another study (the row, its search or the number of seeds was changed since).
    """
    folder = Folder(stage.folder)
    if not folder.exists():
        return False
    there, _ = folder.read()
    now = stage.config.model_copy(update={"identity_version": there.identity_version}).study_id
    if there.study_id != now:
        raise InputError(
            f"{stage.folder}: it holds study {there.study_id}, but {stage.title} is now {now}: the row, what its "
            "search chose or the number of seeds has changed. Remove the folder, or choose another with --out."
        )
    # The budget is no part of a study's id, and a search with another one would choose among other trials.
    now_status = status(stage.folder)
    return now_status.complete and now_status.ended >= stage.config.trials


def _stage(job: Job, name: StageName, study: StudyConfig) -> Stage:
    place = {} if job.data is None else {"data": str(job.data.expanduser().absolute())}
    # All are of images. Both are parts of a study's id, which is asked for before the images are loaded.
    stream = with_steering(study.space, study.stream.model_copy(update={"standardise": "scalar", **place}))
    return Stage(job.key, name, study.model_copy(update={"stream": stream}), job.folder / name)


def _chosen(job: Job) -> Mapping[str, Value] | None:
    """What validation data chooses of the hyperparameters that were searched, on record in the search's folder."""
    search = planned(job)
    if not complete(search):
        return None
    try:
        settings = analysis.select(search.folder)["settings"]
    except NoAnswerError:
        return None
    return {name: settings[name] for name in job.row.searched if settings[name] is not None}
