"""Trials whose settings come to the same: the first of them is trained, and the others are handed its results.

A run depends on what acts of its settings, and on its seed, to the last bit: training it again would show nothing new.
Such trials come from spaces with few configurations, and wherever a sampler switches an ingredient off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cfsweep.results.reader import read_table
from cfsweep.results.schema import TABLES
from cfsweep.sweeping.rows import StudyTables
from cfsweep.sweeping.trials import Trial

Tables = dict[str, list[dict[str, Any]]]


class EqualTrials:
    """The trials of a study by what acts of their settings."""

    def __init__(self, tables: StudyTables) -> None:
        self.tables = tables
        self.first: dict[str, int] = {}  # the trial that is trained, by the hash of its configuration
        self.waiting: dict[int, list[Trial]] = {}  # for the results of the trial with this number

    @property
    def n_waiting(self) -> int:
        return sum(map(len, self.waiting.values()))

    def know(self, row: Mapping[str, Any]) -> None:
        """Takes in a run of an earlier session, unless its results were handed to it, or it failed."""
        if row["trial"] < 0 or row.get("same_as") is not None or row["state"] == "failed":
            return
        values = {name: row[f"hp_{name}"] for name in self.tables.hypers}
        # Earlier versions hashed all settings; where one is null, the row is of a later one.
        found = row["config_hash"] if None in values.values() else self.tables.hash_of_trial(values)
        self.first.setdefault(found, row["trial"])

    def admit(self, trial: Trial, begun: bool) -> bool:
        """Whether the trial is to be trained, as it is unless it waits for the results of an equal one; one that has
        `begun` goes on."""
        first = self.first.setdefault(self.tables.hash_of_trial(trial.values), trial.number)
        waits = first != trial.number and not begun
        if waits:
            self.waiting.setdefault(first, []).append(trial)
        return not waits

    def pop(self, firsts: Iterable[int]) -> list[tuple[int, Trial]]:
        """Those that wait for one of `firsts`, each with the one that it waits for; they wait no longer."""
        return [(first, trial) for first in firsts for trial in self.waiting.pop(first)]

    def after_failure(self, first: int) -> list[Trial]:
        """Those that wait for a trial that has failed, of which the next one admitted will be trained: what failed may
        have been the machine."""
        self.first = {key: number for key, number in self.first.items() if number != first}
        return self.waiting.pop(first)

    def rows(self, root: Path, pairs: Sequence[tuple[int, Trial]], attempt: int) -> Tables:
        """The rows of trials that are handed the results of others, given as for `pop`: those of the other one, under
        the trial's own number and settings. Runs that have a row already get none."""
        firsts = sorted({first for first, _ in pairs})
        found: Tables = {}
        for table in (*TABLES[1:], TABLES[0]):
            known = read_table(root, table, study_id=self.tables.config.study_id)
            of_trial: dict[int, list[Mapping[str, Any]]] = {}
            if known.num_rows:
                for row in known.filter(pc.is_in(known["trial"], pa.array(firsts, known["trial"].type))).to_pylist():
                    of_trial.setdefault(row["trial"], []).append(row)
            names = self.tables.schemas[table].names
            found[table] = [
                {**{name: row.get(name) for name in names}, **self._own(table, row, trial), "attempt": attempt}
                for first, trial in pairs
                for row in of_trial.get(first, ())
                if row["seed"] not in trial.states
            ]
        return found

    def _own(self, table: str, row: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
        if table != "runs":
            return {"trial": trial.number}
        settings, why = self.tables.settings(self.tables.config.space.ingredients, trial.values)
        missing = json.loads(row["missing"] or "{}")
        missing = {name: reason for name, reason in missing.items() if not name.startswith("hp_")} | why
        return {
            "trial": trial.number,
            **settings,
            "missing": json.dumps(missing, sort_keys=True) if missing else None,
            "same_as": row["trial"],
        }
