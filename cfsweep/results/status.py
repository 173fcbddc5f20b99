"""How far a study is, read from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfsweep.results.reader import read_study, read_table
from cfsweep.results.schema import JOINT_TRIAL, NAIVE_TRIAL


@dataclass(frozen=True)
class Status:
    """Counts of trials all of whose runs have ended; `failures` maps (trial, seed) to the reason.

    `references_left` counts the references (naive, joint) that still have runs to end.
    """

    study_id: str
    trials: int
    seeds: int
    done: int
    stopped: int
    failed: int
    references_left: int
    failures: dict[tuple[int, int], str]

    @property
    def ended(self) -> int:
        return self.done + self.stopped + self.failed

    @property
    def complete(self) -> bool:
        return self.ended >= self.trials and self.references_left == 0


def status(root: str | Path) -> Status:
    """The state of the study in `root`, local or remote.

    Raises:
        InputError: there is no study there, or it cannot be read.
    """
    study = read_study(root)
    config: dict[str, Any] = study["config"]
    seeds, runs = config["seeds"], read_table(root, "runs")
    rows = runs.select(["trial", "seed", "state", "failure"]).to_pylist() if runs.num_rows else []
    states: dict[int, list[str]] = {}
    for row in rows:
        states.setdefault(row["trial"], []).append(row["state"])
    ends = {trial: _end(runs_of) for trial, runs_of in states.items() if len(runs_of) == seeds}
    own = [end for trial, end in ends.items() if trial >= 0]
    references = (NAIVE_TRIAL, JOINT_TRIAL) if config["references"] else ()
    return Status(
        study_id=study["study_id"],
        trials=config["trials"],
        seeds=seeds,
        done=own.count("done"),
        stopped=own.count("stopped"),
        failed=own.count("failed"),
        references_left=sum(1 for trial in references if trial not in ends),
        failures={(row["trial"], row["seed"]): row["failure"] for row in rows if row["failure"]},
    )


def _end(states: list[str]) -> str:
    """A trial failed if one of its runs did, else it was stopped if one was."""
    return next((state for state in ("failed", "stopped") if state in states), "done")
