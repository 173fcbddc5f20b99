"""Confirmation: trials of a sweep are trained once more, with seeds that the sweep did not use, and tested.

What was chosen among many by noisy numbers looks better than it is. Fresh seeds have no part in the choice, so their
mean is not flattered by it; and test data, which a sweep never sees, is opened by them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cfsweep.config import FRESH, MOST_SEEDS, StudyConfig
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.results.changes import CHANGES
from cfsweep.results.reader import read_table
from cfsweep.results.status import status
from cfsweep.sweeping import outside, study
from cfsweep.sweeping.folder import Folder, describe, described_hypers, refuse_links_out
from cfsweep.sweeping.ground import accepted, check_ground
from cfsweep.sweeping.listed import ListedAsker
from cfsweep.sweeping.progress import Watcher
from cfsweep.sweeping.scheduler import USUAL, Endurance, Scheduler, Workers
from cfsweep.sweeping.schedulers import on_schedulers
from cfsweep.sweeping.space import check_space, reference_values
from cfsweep.sweeping.working_files import tidy_complete

Purpose = Literal["confirm", "refit"]
FOLDERS: Mapping[Purpose, str] = {"confirm": "confirmed", "refit": "refitted"}  # within that of the sweep


def confirm(
    root: Path,
    trials: Sequence[int],
    references: Sequence[int],
    seeds: int,
    purpose: Purpose,
    workers: Workers,
    watcher: Watcher,
    endurance: Endurance = USUAL,
    accept_changes: bool = False,
) -> study.Outcome:
    """Trains these trials and references of the sweep in `root` with so many fresh seeds, scores them by test data, and
    keeps their models: in the results folder `confirmed` within `root`, or `refitted`, where they are trained on the
    validation data, too. It goes on with what is there: more trials and more seeds may be added, none is taken away.

    Raises:
        InputError: there is no sweep, a trial did not go all the way in it, what is there is of another sweep, the data
            or anything else that it stands on has changed and is not accepted, or the workers cannot be reached.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"--seeds {seeds}: `1 <= seeds <= {MOST_SEEDS}` must hold. Give another number.")
    sweep = Folder(root)
    swept, about = sweep.read()
    if swept.purpose != "sweep":
        raise InputError(f"{root}: it confirms a sweep itself. Give the folder of the sweep.")
    if purpose == "refit" and swept.space.trainer is not None:
        outside.refuse_refit(swept.space.trainer)
    refuse_links_out(root)  # the folder within it may be one
    folder = Folder(root / FOLDERS[purpose])
    there, content = _begun(folder, swept, root)
    before = content["confirms"]
    usual = reference_values(swept.space, check_space(swept.space, str(sweep.study_file)))
    known = {int(number): {**usual, **values} for number, values in before["trials"].items()}
    wanted = {**known, **_values(root, swept, usual, [n for n in dict.fromkeys(trials) if n not in known])}
    beside = sorted({*before["references"], *references} if swept.references else (), reverse=True)
    config = _config(swept, there, purpose, len(wanted), seeds)
    grows = there is None or (len(wanted), beside, config.seeds) != (len(known), before["references"], there.seeds)
    if not grows and study.is_whole(folder, config, endurance):
        tidy_complete(folder)
        return study.Outcome(status(folder.root), nothing_to_do=True)

    changed: list[str] = []

    def prepare() -> study.Prepared:
        prepared = study.prepare(swept, str(sweep.study_file), about)
        if swept.space.trainer is not None:
            outside.refuse_untested(root, prepared.stream)
        stream = prepared.stream.refitted() if purpose == "refit" else prepared.stream
        described = described_hypers(swept, prepared.hypers)
        if CHANGES not in content:  # else it is apart from the sweep
            changed.extend(check_ground(swept, described, prepared.stream, about, sweep.study_file, accept_changes))
        if there is not None:
            changed.extend(check_ground(config, described, stream, content, folder.study_file, accept_changes))
        return replace(prepared, config=config, stream=stream)

    def train(scheduler: Scheduler, prepared: study.Prepared) -> study.Outcome:
        nonlocal content
        now = describe(config, prepared.hypers, prepared.stream)
        content = content if there is not None else {**now, **content}
        with study.waiting_for(scheduler, endurance).on():
            if changed:
                content = accepted(content, list(dict.fromkeys(changed)), now, folder.root)
                folder.forget_packs()
        changed.clear()  # noted once, though other schedulers may follow
        said = {**content, "references": about.get("references") or [{}], "config": config.model_dump(mode="json")}
        with study.waiting_for(scheduler, endurance).on():
            folder.write({**said, "confirms": {**before, "trials": wanted, "references": beside}})
        return study.sweep(folder, config, prepared, scheduler, watcher, ListedAsker(wanted), endurance)

    with folder.locked():
        return on_schedulers(workers, prepare, train)


def _begun(folder: Folder, swept: StudyConfig, root: Path) -> tuple[StudyConfig | None, dict[str, Any]]:
    """The study in `folder`, None where none was begun, and what its `study.yaml` says, at least what it `confirms`.

    Raises:
        InputError: it is of another sweep than the one in `root`.
    """
    if not folder.exists():
        return None, {"confirms": {"study_id": swept.study_id, "trials": {}, "references": []}}
    there, content = folder.read()
    of = content.get("confirms", {"study_id": "(none)"})["study_id"]
    if of != swept.study_id:
        raise InputError(
            f"{folder.root}: it confirms trials of study {of}, but {root} is of {swept.study_id}. Move it elsewhere."
        )
    return there, content


def _config(swept: StudyConfig, there: StudyConfig | None, purpose: Purpose, trials: int, seeds: int) -> StudyConfig:
    """The study that confirms; `there` is what it is so far."""
    if there is not None:
        moved = study.at_place_of(there.stream, swept.stream)
        return there.grown(trials, max(seeds, there.seeds)).model_copy(update={"stream": moved})
    changed: dict[str, Any] = {
        "purpose": purpose,
        "seeds": seeds,
        "seeds_at_start": None,
        "first_seed": FRESH,
        "trials": trials,
        "time_budget_s": None,
        "stop_trials": False,
    }
    if purpose == "refit":
        changed["curve_points_per_task"] = 0  # which are of validation data
    return swept.model_copy(update=changed)


def _values(
    root: Path, config: StudyConfig, usual: Mapping[str, Value], trials: Sequence[int]
) -> dict[int, dict[str, Value]]:
    """The settings of these trials, by number, from the rows of their runs. One that is null could not act, and is as
    `usual`.

    Raises:
        InputError: one of them did not go all the way.
    """
    rows = read_table(root, "runs", study_id=config.study_id).to_pylist() if trials else []
    found: dict[int, dict[str, Value]] = {}
    for number in trials:
        own = [row for row in rows if row["trial"] == number]
        if number < 0 or len(own) < config.seeds or any(row["state"] != "done" for row in own):
            raise InputError(
                f"--trials {number}: only a trial that went all the way with each seed can be confirmed. "
                f"`cfsweep table {root} --all` lists those."
            )
        settings = {name: own[0].get(f"hp_{name}") for name in usual}
        found[number] = {**usual, **{name: value for name, value in settings.items() if value is not None}}
    return found
