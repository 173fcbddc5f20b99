"""Confirmation: trials of a sweep are trained once more, with seeds that the sweep did not use, and tested.

What was chosen among many by noisy numbers looks better than it is. Fresh seeds have no part in the choice, so their
mean is not flattered by it; and test data, which a sweep never sees, is opened by them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from cfsweep.config import FRESH, MOST_SEEDS, StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from cfsweep.sweep import study
from cfsweep.sweep.folder import Folder, check_ground, describe
from cfsweep.sweep.listed import ListedAsker
from cfsweep.sweep.progress import Display
from cfsweep.sweep.scheduler import Workers
from cfsweep.sweep.schedulers import open_scheduler

Purpose = Literal["confirm", "refit"]
FOLDERS: Mapping[Purpose, str] = {"confirm": "confirmed", "refit": "refitted"}  # within that of the sweep


def confirm(
    root: Path,
    trials: Sequence[int],
    references: Sequence[int],
    seeds: int,
    purpose: Purpose,
    workers: Workers,
    console: Console,
) -> study.Outcome:
    """Trains these trials and references of the sweep in `root` with so many fresh seeds, scores them by test data, and
    keeps their models: in the results folder `confirmed` within `root`, or `refitted`, where they are trained on the
    validation data, too. It goes on with what is there: more trials and more seeds may be added, none is taken away.

    Raises:
        InputError: there is no sweep, a trial did not go all the way in it, the data has changed, or the workers cannot
            be reached.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"--seeds {seeds}: `1 <= seeds <= {MOST_SEEDS}` must hold. Give another number.")
    sweep = Folder(root)
    swept, about = sweep.read()
    if swept.purpose != "sweep":
        raise InputError(f"{root}: it confirms a sweep itself. Give the folder of the sweep.")
    folder = Folder(root / FOLDERS[purpose])

    def prepare() -> study.Prepared:
        prepared = study.prepare(swept, str(sweep.study_file))
        check_ground(swept, prepared.stream, about, sweep.study_file)
        return replace(prepared, stream=prepared.stream.refitted()) if purpose == "refit" else prepared

    folder.root.mkdir(exist_ok=True)
    with folder.locked():
        there = folder.read() if folder.exists() else None
        known = {int(n): v for n, v in there[1]["confirms"]["trials"].items()} if there else {}
        wanted = {**known, **_values(root, swept, about, [n for n in trials if n not in known])}
        beside = sorted({*(there[1]["confirms"]["references"] if there else ()), *references}, reverse=True)
        config = _config(swept, there[0] if there else None, purpose, len(wanted), seeds)
        same = there and (wanted.keys(), beside, config.seeds) == (
            known.keys(),
            there[1]["confirms"]["references"],
            there[0].seeds,
        )
        if same and study.is_whole(folder, config):
            return study.Outcome(status(folder.root), nothing_to_do=True)
        with open_scheduler(workers, prepare) as (scheduler, prepared):
            confirms = {"study_id": swept.study_id, "trials": wanted, "references": beside}
            if there:
                check_ground(config, prepared.stream, there[1], folder.study_file)
            content = there[1] if there else describe(config, prepared.hypers, prepared.stream)
            references_of = {"references": about.get("references") or [{}]}
            folder.write({**content, **references_of, "config": config.model_dump(mode="json"), "confirms": confirms})
            prepared = replace(prepared, config=config)
            display = Display(console, live=workers.count != 0)
            return study.sweep(folder, config, prepared, scheduler, display, ListedAsker(wanted))


def _config(swept: StudyConfig, there: StudyConfig | None, purpose: Purpose, trials: int, seeds: int) -> StudyConfig:
    """The study that confirms; `there` is what it is so far."""
    if there is not None:
        return there.grown(trials, max(seeds, there.seeds))
    changed: dict[str, Any] = {
        "purpose": purpose,
        "seeds": seeds,
        "seeds_at_start": None,
        "first_seed": FRESH,
        "trials": trials,
        "time_budget_s": None,
        "stop_trials": False,
    }
    return swept.model_copy(update=changed)


def _values(
    root: Path, config: StudyConfig, about: Mapping[str, Any], trials: Sequence[int]
) -> dict[int, dict[str, Value]]:
    """The settings of these trials, by number, from the rows of their runs. Where one could not act, and so is null, it
    is the default.

    Raises:
        InputError: one of them did not go all the way.
    """
    if not trials:
        return {}
    rows = read_table(root, "runs", study_id=config.study_id).to_pylist()
    found: dict[int, dict[str, Value]] = {}
    for number in trials:
        own = [row for row in rows if row["trial"] == number]
        if number < 0 or len(own) < config.seeds or any(row["state"] != "done" for row in own):
            raise InputError(
                f"--trials {number}: only a trial that went all the way with each seed can be confirmed. "
                f"`cfsweep table {root} --all` lists those."
            )
        hypers: Mapping[str, Any] = about["hypers"]
        values = {name: own[0].get(f"hp_{name}") for name in hypers}
        found[number] = {name: hypers[name]["default"] if v is None else v for name, v in values.items()}
    return found
