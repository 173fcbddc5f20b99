"""How far a study is, read from its folder alone."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfsweep.results import lease
from cfsweep.results.addresses import above, in_command, is_address, name_of
from cfsweep.results.changes import said_of_changes
from cfsweep.results.reader import read_study, read_table, told_if_unread
from cfsweep.results.schema import JOINT, MAJORITY_TRIAL, NAIVE, n_reference_settings, reference_trial
from cfsweep.results.stages import INSIDE
from cfsweep.results.store import Store

LOCK = ".lock"  # whoever writes to the folder holds it


@dataclass(frozen=True)
class Status:
    """Counts of trials all of whose runs have ended; `failures` maps (trial, seed) to the reason.

    `references_left` counts the references (naive and joint with each of their settings, and majority where the study
    has it) that still have runs to end.
    `running`: a sweep is writing to the folder now, on this machine, or to the address; `writer` says which, of an
    address, and when it was last heard of: one that has died counts as running for two minutes. `equal` counts the
    trials that were not trained, being equal to earlier ones, whose results they have. The seeds take turns with
    `splits` of the data. `goes_on_by` is the command that goes on with the study. `changes`: a line for each time that
    it went on with something else than it began with.
    """

    study_id: str
    trials: int
    seeds: int
    done: int
    stopped: int
    failed: int
    references_left: int
    failures: dict[tuple[int, int], str]
    equal: int = 0
    running: bool = False
    writer: str = ""
    splits: int = 1
    goes_on_by: str = "cfsweep resume"
    changes: tuple[str, ...] = ()

    @property
    def ended(self) -> int:
        return self.done + self.stopped + self.failed

    @property
    def complete(self) -> bool:
        return self.ended >= self.trials and self.references_left == 0


def status(root: str | Path) -> Status:
    """The state of the study in `root`, local or remote.

    Raises:
        InputError: there is no study there, it cannot be read, or there are runs of another one.
    """
    study = read_study(root)
    with told_if_unread(root):
        held = writer(root)
    config: dict[str, Any] = study["config"]
    seeds, runs = config["seeds"], read_table(root, "runs", study_id=study["study_id"])
    names = [name for name in ("trial", "seed", "state", "failure", "same_as") if name in runs.column_names]
    rows = runs.select(names).to_pylist()
    states: dict[int, list[str]] = {}
    for row in rows:
        states.setdefault(row["trial"], []).append(row["state"])
    ends = {trial: _end(runs_of) for trial, runs_of in states.items() if len(runs_of) >= seeds}
    own = [end for trial, end in ends.items() if trial >= 0]
    references = [*trained_references(study), *([MAJORITY_TRIAL] if has_majority(study) else [])]
    return Status(
        study_id=study["study_id"],
        trials=config["trials"],
        seeds=seeds,
        done=own.count("done"),
        stopped=own.count("stopped"),
        failed=own.count("failed"),
        references_left=sum(1 for trial in references if trial not in ends),
        failures={(row["trial"], row["seed"]): row["failure"] for row in rows if row["failure"]},
        equal=len({row["trial"] for row in rows if row.get("same_as") is not None}),
        running=held is not None,
        writer=held or "",
        splits=(config.get("stream") or {}).get("splits", 1),
        goes_on_by=_goes_on_by(root, study),
        changes=tuple(said_of_changes(study)),
    )


def _goes_on_by(root: str | Path, study: Mapping[str, Any]) -> str:
    """
    >>> _goes_on_by("demo/refitted", {"config": {"seeds": 5, "purpose": "refit"}, "confirms": {"trials": {}}})
    'cfsweep confirm demo --seeds 5 --refit'
    """
    if "confirms" not in study:
        return "cfsweep resume"
    config = study["config"]
    refit = " --refit" if config["purpose"] == "refit" else ""
    return f"cfsweep confirm {in_command(above(root))} --seeds {config['seeds']}{refit}"


def trained_references(study: Mapping[str, Any]) -> list[int]:
    """The numbers of the references `naive` and `joint` that belong to the study whose `study.yaml` this is.

    >>> trained_references({"config": {"references": True, "trials": 12}, "references": [{"lr": 0.1}, {"lr": 0.2}]})
    [-1, -2, -3, -4]
    >>> trained_references({"config": {"references": True, "trials": 2}, "confirms": {"references": [-3, -2]}})
    [-3, -2]
    """
    config = study["config"]
    if not config["references"]:
        return []
    if "confirms" in study:
        return list(study["confirms"]["references"])
    n_settings = n_reference_settings(len(study.get("references") or [{}]), config["trials"])
    return [reference_trial(method, k) for k in range(n_settings) for method in (NAIVE, JOINT)]


def has_majority(study: Mapping[str, Any]) -> bool:
    """Whether the reference `majority` belongs to the study whose `study.yaml` this is: not to one that was begun
    before there was that, nor to one without references.

    >>> begun_before = {"config": {"references": True}}
    >>> has_majority(begun_before), has_majority({**begun_before, "majority": [0.5, 0.9]})
    (False, True)
    """
    return bool(study["config"]["references"]) and study.get("majority") is not None


def budget(trials: int, seeds: int, splits: int = 1) -> str:
    """How much is to be trained, in words.

    >>> budget(1, 1), budget(48, 3), budget(48, 3, splits=2)
    ('1 trial', '48 trials x 3 seeds', '48 trials x 3 seeds on 2 splits')
    """
    said = f"{trials} trial{'s' * (trials != 1)}" + (f" x {seeds} seeds" if seeds > 1 else "")
    return said + (f" on {min(seeds, splits)} splits" if min(seeds, splits) > 1 else "")


def is_held(root: str | Path) -> bool:
    """Whether a sweep is writing to the folder on this machine, or to the address from anywhere."""
    return writer(root) is not None


def writer(root: str | Path) -> str | None:
    """Who is writing there, in words: empty where the lock of a folder does not say; None where nobody is."""
    if is_address(root):  # a study within another one has no claims of its own
        return lease.writer(Store(above(root) if name_of(root) in INSIDE else str(root)))
    return "" if _is_locked(Path(root) / LOCK) else None


def _is_locked(path: Path) -> bool:
    """Whether some process holds the lock."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _end(states: list[str]) -> str:
    """A trial failed if one of its runs did, else it was stopped if one was."""
    return next((state for state in ("failed", "stopped") if state in states), "done")
