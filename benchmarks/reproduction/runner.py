"""Trains what is not yet there: each stage of a row is one study in a folder of its own, by the code path of
`cfsweep run`."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from benchmarks.reproduction.stages import SEARCH, Job, Stage, complete, stage_of
from cfsweep.config import Choices, Searched
from cfsweep.hypers import Value
from cfsweep.results.schema import MODELS
from cfsweep.sweeping import study
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.progress import Display
from cfsweep.sweeping.scheduler import Scheduler, Workers
from cfsweep.sweeping.schedulers import open_scheduler
from cfsweep.sweeping.search.study import open_study
from cfsweep.sweeping.space import check_space
from cfsweep.training.ingredients import ingredient_class, refuse_misfits


def check(jobs: Sequence[Job]) -> None:
    """Finds what cannot work before anything is trained.

    Raises:
        InputError: a row asks for an ingredient or a hyperparameter that there is not, or in a scenario that the
            ingredient does not know.
    """
    for job in jobs:
        config = job.row.study
        check_space(config.space, job.key)
        kinds = [ingredient_class(name, job.key) for name in config.space.ingredients]
        refuse_misfits(kinds, config.stream.scenario, config.stream.target, job.key)


def run(jobs: Sequence[Job], workers: Workers, console: Console) -> bool:
    """Trains the stages that are not complete, one after the other; returns False if it was interrupted.

    The workers are started once for all of them, and not at all where nothing is left.

    Raises:
        InputError: a folder or a study is wrong, or the data has changed.
    """
    check(jobs)
    left = [job for job in jobs if not _finished(job)]
    console.print(f"{len(jobs) - len(left)} of {len(jobs)} rows are complete", highlight=False)
    if not left:
        return True
    with open_scheduler(workers, lambda: None) as (scheduler, _):
        for number, job in enumerate(left, 1):
            console.print(f"{number} of {len(left)}: {job.key}", highlight=False)
            for name in job.stages:
                stage = stage_of(job, name)
                if stage is None:
                    console.print("   no trial of its search went all the way", highlight=False)
                elif not complete(stage):
                    started = time.monotonic()
                    if not _train(stage, scheduler, Display(console, live=workers.count != 0)):
                        return False
                    gc.collect()  # lets go of the study's stream
                    console.print(f"   {name}: {time.monotonic() - started:.0f} s", highlight=False)
    return True


def _finished(job: Job) -> bool:
    return all(stage is not None and complete(stage) for stage in (stage_of(job, name) for name in job.stages))


def _train(stage: Stage, scheduler: Scheduler, display: Display) -> bool:
    """Returns False if it was interrupted."""
    prepared = study.with_identity_version_of(stage.folder, study.prepare(stage.config, stage.title))
    if stage.name == SEARCH and len(prepared.config.space.search) == 1:
        _lay_out(prepared, stage)
    went_on = not study.begin(prepared, stage.folder, scheduler, display).interrupted
    shutil.rmtree(stage.folder / MODELS, ignore_errors=True)  # of what is measured; nobody asks for them
    return went_on


def _lay_out(prepared: study.Prepared, stage: Stage) -> None:
    """Puts the trials of a search of one hyperparameter into its journal: after the default, which is always the first,
    values that are spread evenly. A random draw of so few could miss the decade that matters.

    A kill in between leaves a journal with the first few of them; the others follow.
    """
    folder = Folder(stage.folder)
    if not folder.exists():
        folder.refuse_other_content()
        with folder.locked():
            folder.create(prepared.config, prepared.hypers, prepared.stream)
    ((name, searched),) = prepared.config.space.search.items()
    asked = open_study(folder.journal, prepared.config, prepared.hypers)
    values = spread(searched, prepared.config.trials - 1, whole=prepared.hypers[name].kind == "int")
    for value in values[len(asked.get_trials(deepcopy=False)) - 1 :]:
        asked.enqueue_trial({name: value})


def spread(searched: Searched, n: int, whole: bool = False) -> list[Value]:
    """`n` values spread evenly over what is searched, on its scale, both ends included; of a list, its values in turn.

    >>> from cfsweep.config import Range
    >>> spread(Range(low=1.0, high=1e6, log=True), 4)
    [1.0, 100.0, 10000.0, 1000000.0]
    >>> spread(Range(low=0, high=10), 3, whole=True), spread(Choices(choices=("a", "b")), 3)
    ([0, 5, 10], ['a', 'b', 'a'])
    """
    if isinstance(searched, Choices):
        return [searched.choices[place % len(searched.choices)] for place in range(n)]
    scale = np.geomspace if searched.log else np.linspace
    values: list[float] = [float(f"{value:.6g}") for value in scale(searched.low, searched.high, n)]
    return [round(value) for value in values] if whole else list(values)


def ranges(searched: Mapping[str, Searched]) -> str:
    """What is searched, in words.

    >>> from cfsweep.config import Range
    >>> ranges({"ewc_lambda": Range(low=1.0, high=1e8, log=True), "epochs": Choices(choices=(1, 5))})
    'ewc_lambda 1 to 1e+08 (log), epochs 1 or 5'
    """
    return ", ".join(f"{name} {_range(of)}" for name, of in searched.items())


def _range(searched: Searched) -> str:
    if isinstance(searched, Choices):
        return " or ".join(map(str, searched.choices))
    zero = "0 or " if searched.zero else ""
    return f"{zero}{searched.low:g} to {searched.high:g}" + (" (log)" if searched.log else "")
