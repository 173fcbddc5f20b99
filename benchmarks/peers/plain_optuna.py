"""(c), Optuna alone in processes that share a journal: `python -m benchmarks.peers.plain_optuna JOB`"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import optuna
import torch
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.peers import textbook
from benchmarks.peers.job import Job, Record, read_tasks, write_records

NAME = "ewc"


def work(job: Job, journal: str, trials: int, number: int) -> None:
    """One process: some of the study's trials, one after another. Each has its own seed, lest they draw the same."""
    torch.set_num_threads(1)
    tasks = read_tasks(job.tasks)

    def objective(trial: optuna.Trial) -> float:
        record = textbook.run(tasks, trial.suggest_float("ewc_lambda", job.low, job.high, log=True), job.seed, job)
        trial.set_user_attr("record", asdict(record))
        return record.objective

    optuna.load_study(study_name=NAME, storage=_storage(journal), sampler=TPESampler(seed=job.seed + number)).optimize(
        objective, n_trials=trials
    )


def sweep(job: Job) -> list[Record]:
    """The records of the sweep's trials."""
    with tempfile.TemporaryDirectory(prefix="peers-optuna-") as scratch:
        journal = str(Path(scratch) / "journal.jsonl")
        study = optuna.create_study(study_name=NAME, storage=_storage(journal), direction="maximize")
        for each in job.first:
            study.enqueue_trial({"ewc_lambda": each})
        spawn = multiprocessing.get_context("spawn")
        shares = [len(range(number, job.trials, job.workers)) for number in range(job.workers)]
        processes = [
            spawn.Process(target=work, args=(job, journal, share, number)) for number, share in enumerate(shares)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a process of the study has failed")
        return [Record(**trial.user_attrs["record"]) for trial in study.trials]


def _storage(journal: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(journal))


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    job = Job.read(sys.argv[1])
    write_records(job.records, sweep(job))
