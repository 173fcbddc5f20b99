"""What the rounds of faults, and the load, have shown, as sections of docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import RELIABILITY, markdown_table, measured_on, put_section
from cfsweep.texts import for_markdown

Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_faults(records: Sequence[Record], page: Path = RELIABILITY) -> None:
    """The table of faults.

    Raises:
        ValueError: a test failed or was skipped, or did no fault, or compared no run: a table would claim too much.
    """
    put_section(page, "faults", faults_table(records))


def faults_table(records: Sequence[Record]) -> str:
    bad = [record for record in records if record["outcome"] != "passed"]
    if bad:
        raise ValueError(f"{bad[0]['test']} {bad[0]['outcome']} with seed {bad[0]['seed']}: no table is made of that")
    idle = [record for record in records if not (record["faults"] and record["runs"])]
    if idle:
        raise ValueError(f"{idle[0]['test']} has shown nothing with seed {idle[0]['seed']}: no table is made of that")
    seeds = sorted({record["seed"] for record in records})
    table = markdown_table(
        ["what happens", "what is promised", "tested by", "measured"],
        [_row(fault, of) for fault, of in _grouped(records).items()],
    )
    return f"{table}\n\nSeeds {', '.join(map(str, seeds))}. " + measured_on(
        f"python -m tests.faults --rounds {len(seeds)} --seed {seeds[0]} --write"
    )


def _grouped(records: Iterable[Record]) -> dict[str, list[Record]]:
    """By what happens, in the order of the tests' names: several are done at once."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: str(record["test"])):
        found.setdefault(record["fault"], []).append(record)
    return found


def _n(number: int, what: str) -> str:
    """
    >>> _n(1, "run"), _n(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {what}{'s' * (number != 1)}"


def _row(fault: str, records: Sequence[Record]) -> list[str]:
    faults, runs = (sum(int(record[name]) for record in records) for name in ("faults", "runs"))
    tests = sorted({record["test"].partition("[")[0] for record in records})
    measured = f"{_n(len(records), 'sweep')}, {_n(faults, 'fault')}, {_n(runs, 'run')} as when trained alone"
    told = sorted({line for record in records for line in record["told"]}, key=len)
    said = f". Told: {for_markdown(told[0])}" if told else ""
    return [fault, records[0]["promised"], ", ".join(f"`{test}`" for test in tests), measured + said]


LOAD_COLUMNS = {
    "at_s": "min",
    "parts": "parts of `runs`",
    "driver_mb": "driver, MB",
    "worker_mb": "largest worker, MB",
    "broker_mb": "broker, MB",
    "driver_files_open": "files open in the driver",
    "checkpoints": "files in `checkpoints`",
    "temporary": "temporary files",
    "sessions": "folders of Ray's",
    "folder_mb": "results, MB",
}


def write_load(path: Path, page: Path = RELIABILITY) -> None:
    """The table of memory and files over time."""
    put_section(page, "load", load_table(json.loads(path.read_text())))


def load_table(found: Record) -> str:
    rows = [
        [f"{one['at_s'] / 60:.0f}", *(f"{one[name]:g}" for name in list(LOAD_COLUMNS)[1:])] for one in found["seen"]
    ]
    killed = ", ".join(f"{name} {n}" for name, n in sorted(found["killed"].items()))
    ended = f"; {found['ended']} times the command ended where Ray was killed while it started, and was given again"
    command = f"--trials {found['trials']} --epochs {found['epochs']} --seed {found['seed']}"
    return (
        f"{found['trials']:,} trials in {found['minutes']:g} minutes; killed meanwhile: {killed}{ended}. Each (trial, "
        f"seed) was there once, with all its rows, and {found['retrained']} runs drawn at random had the bits that "
        "they have when they are trained alone. The greatest of each tenth of the time:\n\n"
        + markdown_table(list(LOAD_COLUMNS.values()), rows)
        + "\n\n"
        + measured_on(f"python -m tests.faults.load {command}")
    )
