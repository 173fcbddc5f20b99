"""(a) and (b), Ray Tune with OptunaSearch around a trainer: `python -m benchmarks.peers.ray_tune JOB TRAINER`

Written as Ray's own guides do: a function trainable, the data passed once through the object store, one processor for
each trial. Ray starts a process for each trial, unless told to reuse them, which is not its default.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from importlib import import_module
from typing import Any

import ray
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.job import Job, Record, TaskData, read_tasks, write_records

TRAINERS = {"textbook": "benchmarks.peers.textbook", "avalanche": "benchmarks.peers.avalanche_ewc"}


def trainable(config: dict[str, Any], tasks: Sequence[TaskData], job: Job, trainer: str) -> None:
    """One trial, on a worker."""
    import torch

    torch.set_num_threads(1)
    run: Callable[..., Record] = import_module(TRAINERS[trainer]).run
    tune.report(asdict(run(tasks, config["ewc_lambda"], job.seed, job)))


def sweep(job: Job, trainer: str) -> list[Record]:
    """The records of the sweep's trials."""
    with tempfile.TemporaryDirectory(prefix="peers-tune-") as scratch:
        results = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, tasks=read_tasks(job.tasks), job=job, trainer=trainer), {"cpu": 1}
            ),
            param_space={"ewc_lambda": tune.loguniform(job.low, job.high)},
            tune_config=tune.TuneConfig(
                metric="objective",
                mode="max",
                search_alg=OptunaSearch(
                    sampler=TPESampler(seed=job.seed),
                    points_to_evaluate=[{"ewc_lambda": each} for each in job.first],
                ),
                num_samples=job.trials,
                max_concurrent_trials=job.workers,
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
        if results.errors:
            raise results.errors[0]
        names = [each.name for each in fields(Record)]
        return [Record(**{name: result.metrics[name] for name in names}) for result in results]


def main(job_file: str, trainer: str) -> None:
    job = Job.read(job_file)
    ray.init(address="local", num_cpus=job.workers, include_dashboard=False, log_to_driver=False)
    write_records(job.records, sweep(job, trainer))
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
