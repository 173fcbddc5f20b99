"""What must be true of a study's folder in the end, whatever has happened to its sweep meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from cfsweep.results.ledger import LEDGER
from cfsweep.results.reader import COPY, STUDY
from cfsweep.results.schema import JOINT_TRIAL, MAJORITY_TRIAL, NAIVE_TRIAL, TABLES
from cfsweep.results.status import LOCK, status
from cfsweep.sweeping.checking import check
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.two_records import values_of_params
from tests.faults.alone import trained_alone

Row = dict[str, Any]
# What Ray's library says from C++ before it has a log, or where it cannot write to it.
RAYS_LOG = re.compile(r"\[\d{4}-\d\d-\d\d |\[\*\*\* LOG ERROR")
BY_CHANCE = ("train_s", "started_at", "peak_bytes", "host", "device", "same_as")


def rows_of(out: Path, table: str) -> list[Row]:
    """All rows of all parts of a table, as whoever reads Parquet sees them: cfsweep's reader is not asked."""
    parts = sorted((out / table).glob("*.parquet"))
    return [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]


def rows_of_runs(out: Path, table: str) -> list[Row]:
    """Those of the latest attempt of each run; what earlier ones left is of attempts that have failed."""
    runs = rows_of(out, "runs")
    latest, failed = ({(*_key(row), row["attempt"]) for row in part} for part in _latest(runs))
    rows = rows_of(out, table)
    assert {(*_key(row), row["attempt"]) for row in rows} <= latest | failed, table
    return [row for row in rows if (*_key(row), row["attempt"]) in latest]


def verdict(out: Path, trials: int, seeds: int, aside: str = "", attempts: int = 1) -> int:
    """Asserts that the study is complete and whole: each run has one row, all its rows in each table, and the bits that
    it has when it is trained alone; the sampler knows each trial once, and its score; nothing else lies there, but what
    was set `aside` under a name of this pattern. Before that row, a run may have others of so many `attempts` that have
    failed. Gives how many runs were compared."""
    assert status(out).complete
    found = check(out)
    assert (found.findings, found.running) == ((), False), found
    runs, failed = _latest(rows_of(out, "runs"))
    assert {row["state"] for row in failed} <= {"failed"}
    assert max(Counter(map(_key, failed)).values(), default=0) < attempts, failed
    wanted = {
        (trial, seed)
        for trial in (*(MAJORITY_TRIAL, JOINT_TRIAL, NAIVE_TRIAL), *range(trials))
        for seed in range(seeds)
    }
    assert Counter(map(_key, runs)) == Counter(wanted), sorted(map(_key, runs))
    assert {row["state"] for row in runs} == {"done"}, [row["failure"] for row in runs]
    for table in TABLES[1:]:
        assert {_key(row) for row in rows_of_runs(out, table)} <= wanted, table
    _matrices(out, wanted)
    trained = [row for row in runs if row["trial"] != MAJORITY_TRIAL]
    bits_as_alone(out, trained)
    _journal(out, runs, trials)
    kept = {STUDY, COPY, LEDGER, LOCK, "journal.jsonl", "checkpoints", "references"}
    kept |= {f"{table}/{path.name}" for table in TABLES for path in (out / table).glob("[!.]*.parquet")} | set(TABLES)
    left = {str(path.relative_to(out)) for path in out.rglob("*")} - kept
    left = {name for name in left if not re.fullmatch(aside, name)}
    assert not left, left
    return len(trained)


def _latest(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The row of the latest attempt of each run, and those of earlier ones."""
    latest = {(*_key(row), row["attempt"]) for row in rows}
    latest = {max(of for of in latest if of[:2] == key) for key in {of[:2] for of in latest}}
    found: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        found[(*_key(row), row["attempt"]) not in latest].append(row)
    return found


def _key(row: Row) -> tuple[int, int]:
    return row["trial"], row["seed"]


def bits_as_alone(out: Path, runs: Sequence[Row]) -> None:
    """Asserts that these runs have all rows, and the bits, that they have when they are trained alone."""
    config, _ = Folder(out).read()
    scores, curves, buffers = (rows_of_runs(out, table) for table in ("accuracy", "curves", "buffers"))
    for run in runs:
        alone, row = trained_alone(config, run)
        where = f"trial {run['trial']}, seed {run['seed']}"

        def own(rows: Sequence[Row], *names: str, run: Row = run) -> list[tuple[Any, ...]]:
            return sorted(tuple(row[name] for name in names) for row in rows if _key(row) == _key(run))

        assert own(scores, "after_task", "eval_task", "accuracy") == sorted(_cells(alone.validation)), where
        assert own(curves, "task", "step", "eval_task", "accuracy") == sorted(alone.curves), where
        assert own(buffers, "ingredient", "after_task", "task", "class", "n_examples") == sorted(alone.buffers), where
        fixed = row.keys() - set(BY_CHANCE)
        different = {name: (row[name], run[name]) for name in fixed if row[name] != run[name]}
        assert not different, (where, different)


def _matrices(out: Path, runs: Iterable[tuple[int, int]]) -> None:
    """Each run has each cell once, that of majority too."""
    n_tasks = len(Folder(out).read()[1]["tasks"])
    cells = Counter((*_key(row), row["after_task"], row["eval_task"]) for row in rows_of_runs(out, "accuracy"))
    places = [(after, task) for after in range(-1, n_tasks) for task in range(n_tasks)]
    assert cells == Counter((*run, *place) for run in runs for place in places)


def _cells(matrix: Sequence[Sequence[float]]) -> Iterator[tuple[int, int, float]]:
    for after, values in enumerate(matrix):
        yield from ((after - 1, task, value) for task, value in enumerate(values))


def _journal(out: Path, runs: Sequence[Row], trials: int) -> None:
    """Optuna's own reading of it."""
    (name,) = optuna.get_all_study_names(storage := JournalStorage(JournalFileBackend(str(out / "journal.jsonl"))))
    known = optuna.load_study(study_name=name, storage=storage).trials
    states = [(trial.number, trial.state) for trial in known]
    assert states == [(n, TrialState.COMPLETE) for n in range(trials)], states
    config, study = Folder(out).read()
    kinds = {key: of["kind"] for key, of in study["hypers"].items()}
    for trial in known:
        own = [row for row in runs if row["trial"] == trial.number]
        assert abs(trial.values[0] - sum(row["objective_mixed"] for row in own) / len(own)) < 1e-12
        asked = values_of_params(config.space, kinds, trial.params)
        for row in own:
            trained = {key: row[f"hp_{key}"] for key in asked if row[f"hp_{key}"] is not None}
            assert trained == {key: asked[key] for key in trained}, (trial.number, asked)


def own_lines(complaints: str) -> list[str]:
    """The lines on standard error but for those of Ray's library."""
    return [line for line in complaints.splitlines() if not RAYS_LOG.match(line)]


def told(complaints: str, *patterns: str) -> None:
    """Asserts that standard error has a line for each pattern, in this order, and no other of cfsweep's or Python's."""
    lines = own_lines(complaints)
    assert len(lines) == len(patterns), complaints
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), complaints
