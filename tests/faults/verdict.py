"""What must be true of a study's folder in the end, whatever has happened to its sweep meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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


def verdict(out: Path, trials: int, seeds: int, aside: str = "", attempts: int = 1) -> int:
    """Asserts that the study is complete and whole: each run has one row, all its rows in each table, and the bits that
    it has when it is trained alone; each configuration was trained once; the sampler knows each trial once, and its
    score; nothing else lies there, but what was set `aside` under a name of this pattern. Before that row, a run may
    have others of so many `attempts` that have failed. Gives how many runs were compared with ones trained alone.

    What cfsweep says of it itself is asked last: the rest is to find a fault without it."""
    runs, failed = _latest(rows_of(out, "runs"))
    wanted = {
        (trial, seed)
        for trial in (*(MAJORITY_TRIAL, JOINT_TRIAL, NAIVE_TRIAL), *range(trials))
        for seed in range(seeds)
    }
    _each_once("runs", map(_key, runs), wanted)
    states = {_key(row): (row["state"], row["failure"]) for row in runs if row["state"] != "done"}
    assert not states, f"runs that are not done: {states}"
    earlier = {_key(row): row["state"] for row in failed if row["state"] != "failed"}
    assert not earlier, f"runs trained again though they had not failed: {earlier}"
    often = {key: n for key, n in Counter(map(_key, failed)).items() if n >= attempts}
    assert not often, f"runs that have failed too often: {often}"
    _trained_once(runs)
    bits_as_alone(out, runs)
    _journal(out, runs, trials, {row["trial"] for row in failed})
    kept = {STUDY, COPY, LEDGER, LOCK, "journal.jsonl", "checkpoints", *TABLES}
    kept |= {f"{table}/{path.name}" for table in TABLES for path in (out / table).glob("[!.]*.parquet")}
    left = {str(path.relative_to(out)) for path in out.rglob("*")} - kept
    left = {name for name in left if not re.fullmatch(aside, name)}
    assert not left, f"left in the folder: {left}"
    assert status(out).complete, f"not complete: {status(out)}"
    found = check(out)
    assert not found.findings, f"cfsweep check: {found.findings}"
    assert not found.running, "somebody holds the folder"
    return sum(row["trial"] != MAJORITY_TRIAL for row in runs)


def _each_once(what: str, found: Iterable[Any], wanted: Iterable[Any]) -> None:
    there, due = Counter(found), Counter(wanted)
    missing, besides = list((due - there).elements()), list((there - due).elements())
    assert not missing + besides, f"{what}: missing {missing}; there besides, or again: {besides}"


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


def _trained_once(runs: Iterable[Row]) -> None:
    """Of the runs that come to the same, one was trained; the others name its trial."""
    alike: dict[tuple[str, int], list[Row]] = {}
    for row in runs:
        alike.setdefault((row["config_hash"], row["seed"]), []).append(row)
    for rows in alike.values():
        trained = [row["trial"] for row in rows if row["same_as"] is None]
        assert len(trained) == 1, f"trained instead of once: {trained}, of {[_key(row) for row in rows]}"
        named = {row["trial"]: row["same_as"] for row in rows if row["same_as"] not in (None, *trained)}
        assert not named, f"same_as: {named}, but trial {trained} was trained"


def bits_as_alone(out: Path, runs: Sequence[Row]) -> None:
    """Asserts that these runs have all rows, no others, and the bits, that they have when they are trained alone."""
    config, _ = Folder(out).read()
    attempts = _latest(rows_of(out, "runs"))
    of_tables = {table: _by_run(_of_latest(table, rows_of(out, table), *attempts)) for table in TABLES[1:]}
    for run in runs:
        where = f"trial {run['trial']}, seed {run['seed']}"
        alone = trained_alone(config, run)
        for table, of_runs in of_tables.items():
            found, wanted = of_runs.get(_key(run), []), alone[table]
            _each_once(f"{table} of {where}", map(_items, found), map(_items, wanted))
        (row,) = alone["runs"]
        fixed = row.keys() - set(BY_CHANCE)
        different = {name: (row[name], run[name]) for name in fixed if row[name] != run[name]}
        assert not different, f"runs of {where}, alone and here: {different}"


def _of_latest(table: str, rows: Sequence[Row], runs: Iterable[Row], failed: Iterable[Row]) -> list[Row]:
    """Those of the latest attempt of each run; what earlier ones left is of attempts that have failed."""
    latest, earlier = ({(*_key(row), row["attempt"]) for row in part} for part in (runs, failed))
    others = {(*_key(row), row["attempt"]) for row in rows} - latest - earlier
    assert not others, f"{table}: rows of no run, by trial, seed and attempt: {others}"
    return [row for row in rows if (*_key(row), row["attempt"]) in latest]


def _by_run(rows: Iterable[Row]) -> dict[tuple[int, int], list[Row]]:
    found: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    return found


def _items(row: Row) -> tuple[tuple[str, Any], ...]:
    """All of it, whatever the order of the columns."""
    return tuple(sorted(row.items()))


def _journal(out: Path, runs: Sequence[Row], trials: int, had_failed: Collection[int]) -> None:
    """Optuna's own reading of it. A trial of which a run had failed may have ended as failed there, which nobody can
    change."""
    (name,) = optuna.get_all_study_names(storage := JournalStorage(JournalFileBackend(str(out / "journal.jsonl"))))
    known = optuna.load_study(study_name=name, storage=storage).trials
    states = [(trial.number, trial.state) for trial in known]
    may_fail = {(n, TrialState.FAIL) for n in had_failed}
    ends = [(n, TrialState.COMPLETE if (n, state) in may_fail else state) for n, state in states]
    assert ends == [(n, TrialState.COMPLETE) for n in range(trials)], f"trials of the journal: {states}"
    config, study = Folder(out).read()
    kinds = {key: of["kind"] for key, of in study["hypers"].items()}
    for trial in known:
        own = [row for row in runs if row["trial"] == trial.number]
        # To the last bit, as it steers what is asked next; of up to two seeds, the order of which is no matter then.
        means = [float(np.mean([row[f"objective_{of}"] for row in own])) for of in config.objective.names]
        if trial.state == TrialState.COMPLETE:
            assert trial.values == means, f"journal: trial {trial.number} has {trial.values}, its runs {means}"
        asked = values_of_params(config.space, kinds, trial.params)
        for row in own:
            trained = {key: row[f"hp_{key}"] for key in asked if row[f"hp_{key}"] is not None}
            wanted = {key: asked[key] for key in trained}
            assert trained == wanted, f"journal: trial {trial.number} is {wanted}, and was trained with {trained}"


def own_lines(complaints: str) -> list[str]:
    """The lines on standard error but for those of Ray's library."""
    return [line for line in complaints.splitlines() if not RAYS_LOG.match(line)]


def told(complaints: str, *patterns: str) -> None:
    """Asserts that standard error has a line for each pattern, in this order, and no other of cfsweep's or Python's."""
    lines = own_lines(complaints)
    assert len(lines) == len(patterns), f"{len(lines)} lines in place of {len(patterns)}: {complaints}"
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), f"not like {pattern}: {complaints}"
