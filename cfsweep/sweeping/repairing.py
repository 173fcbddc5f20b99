"""`cfsweep repair`: sets aside what is damaged in a results folder, so that who goes on with the study trains again
exactly what it held, and makes one record of the other where one is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.files import write_atomically
from cfsweep.hypers import Hyper, Value
from cfsweep.metrics import UndefinedError
from cfsweep.results.checking import Place, fault_of_part, fault_of_selection, fault_of_study, faults_of_commits, held
from cfsweep.results.ledger import LEDGER, Ledger, LedgerWriter, begin_ledger, commit_entry, parsed
from cfsweep.results.leftovers import remove_leftovers
from cfsweep.results.opening import are_of, by_name, entry_of, open_ledger, parts_in
from cfsweep.results.reader import COPY, STUDY, is_sealed, read_table
from cfsweep.results.stages import SELECTION
from cfsweep.sweeping.checking import (
    compared,
    journal_in,
    known_settings,
)
from cfsweep.sweeping.confirm import FOLDERS
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.search.lines import BrokenJournal
from cfsweep.sweeping.space import default_within
from cfsweep.sweeping.stopping import ended_matrices, intermediate
from cfsweep.sweeping.suggest import param_of
from cfsweep.sweeping.working_files import Aside, set_aside_working_files
from cfsweep.training.spec import PackSpec


@dataclass
class Repair:
    """The repair of the folder `root`; `said`: what was done, a line each."""

    root: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.place = Place(pafs.LocalFileSystem(), str(self.root.absolute()))
        self.aside = Aside(self.root)

    def say(self, text: str) -> None:
        self.said.append(text)


def repair(root: Path) -> list[str]:
    """Repairs the study in the folder `root`, and those within it where trials were confirmed; returns what was done, a
    line each; none where there was nothing to do. Nothing is deleted but what `resume` would delete, too.

    Raises:
        InputError: there is no study, another cfsweep writes to it, neither `study.yaml` nor its copy is whole, or the
            journal and `runs/`, or `study.yaml` and the parts of the tables, each whole, contradict one another.
    """
    if not any((root / name).is_file() for name in (STUDY, COPY)):
        raise InputError(f"{root}: no study.yaml there. Give the folder that `cfsweep run --out` wrote.")
    said = []
    for folder in (root, *(root / name for name in FOLDERS.values())):
        if any((folder / name).is_file() for name in (STUDY, COPY)):
            with Folder(folder).locked():
                own = _repair(Repair(folder))
            said += own if folder == root else [f"{folder.name}: {line}" for line in own]
    return said


def _repair(work: Repair) -> list[str]:
    _repair_study_file(work)
    removed = remove_leftovers(work.root)
    if removed:
        work.say(f"removed {removed} temporary file(s) and locks of killed drivers")
    folder = Folder(work.root)
    config, study = folder.read()
    ledger = _repair_ledger(work, config.study_id)
    _take_back(work, ledger)
    n = len(ledger.ledger.commits)
    n_taken_in = len(open_ledger(work.root, config.study_id).ledger.commits) - n
    if n_taken_in:
        work.say(f"{LEDGER}: without a line for {n_taken_in} commit(s) whose parts are there; written")
    packs, said = set_aside_working_files(work.root, work.aside)
    work.said += said
    if "confirms" not in study:
        _repair_journal(work, config, study, packs)
    if fault := fault_of_selection(work.place):
        work.say(f"{SELECTION}: {fault}. It stays: remove it, and select anew")  # an analysis wrote it, not a sweep
    return work.said


def _repair_study_file(work: Repair) -> None:
    content, copy = work.place.read_study(), work.place.read_study(COPY)
    fault, fault_of_copy = fault_of_study(content), fault_of_study(copy)
    if fault and fault_of_copy:
        raise InputError(
            f"{work.root}/{STUDY}: {fault}; and {COPY}: {fault_of_copy}. Bring one of them back, as they are elsewhere."
        )
    whole, damaged = (copy, STUDY) if fault else (content, COPY)
    is_missed = fault or (fault_of_copy and is_sealed(content or b""))
    if whole is not None and is_missed:
        work.aside.move(damaged)
        write_atomically(work.root / damaged, lambda file: file.write(whole))
        work.say(f"{damaged}: {fault or fault_of_copy}; restored from its twin")


def _repair_ledger(work: Repair, study_id: str) -> LedgerWriter:
    """The ledger, made anew where it is damaged: of the lines that are whole, and of the parts that no line names and
    that are whole by their own checksums."""
    content = work.place.read(LEDGER)
    ledger = Ledger() if content is None else parsed(content)
    is_new = content is None and not is_sealed(work.place.read_study() or b"")
    fault = "missing" if content is None else next(iter(ledger.faults), None)
    if fault is None and ledger.study_id != study_id:
        fault, ledger = f"of study {ledger.study_id}", Ledger()
    if fault is not None:
        _refuse_parts_of_others(work, study_id)
    known = ledger.files
    for name, paths in by_name(parts_in(work.root)).items():
        own = [path.relative_to(work.root).as_posix() for path in paths]
        faults = {path: found for path in own if path not in known and (found := fault_of_part(work.place, path))}
        if faults:
            for path in (path for path in own if path not in known):
                work.aside.move(path)
            said = "; ".join(f"{path}: {found}" for path, found in faults.items())
            work.say(f"{said}; set aside, with all parts named {name}")
    if fault is None:
        return LedgerWriter(work.root, ledger)
    entries = [commit_entry(of.files, of.runs, of.attempt) for of in ledger.commits.values()]
    others = [path for path in parts_in(work.root) if path.relative_to(work.root).as_posix() not in known]
    entries += [entry_of(work.root, paths) for paths in by_name(others).values() if are_of(study_id, work.root, paths)]
    work.aside.move(LEDGER)
    writer = begin_ledger(work.root, study_id, entries)
    if not is_new:
        work.say(f"{LEDGER}: {fault}; made anew with {len(entries)} commit(s)")
    return writer


def _refuse_parts_of_others(work: Repair, study_id: str) -> None:
    """Without its ledger nothing but the parts says whose results they are: where none is of the study, it may be
    `study.yaml` that is of another one.

    Raises:
        InputError: there are whole parts, and all are of other studies.
    """
    parts = parts_in(work.root)
    whole = [path for path in parts if not fault_of_part(work.place, path.relative_to(work.root).as_posix())]
    if whole and not any(are_of(study_id, work.root, [path]) for path in whole):
        raise InputError(
            f"{whole[0]}: it is of another study, as are all parts, but {STUDY} is of {study_id}. Bring the {STUDY} of "
            "that study back, or move the parts elsewhere."
        )


def _take_back(work: Repair, writer: LedgerWriter) -> None:
    """Sets aside all files of the commits of which one is damaged, and takes these commits back."""
    ledger = writer.ledger
    bad, commit_of = faults_of_commits(work.place, ledger), ledger.commit_of
    numbers = sorted({commit_of[path] for path in bad})
    for number in numbers:
        commit = ledger.commits[number]
        for path in (path for path in commit.files if commit_of[path] == number):
            work.aside.move(path)
        faults = "; ".join(f"{path}: {bad[path]}" for path in commit.files if path in bad)
        work.say(f"{faults}; its commit, {held(commit)}, is set aside and will be trained again")
    if numbers:
        writer.take_back(numbers)


def _repair_journal(work: Repair, config: StudyConfig, study: Mapping[str, Any], packs: list[PackSpec]) -> None:
    name, content = journal_in(work.place)
    from cfsweep.sweeping.search.history import asked_in, write_journal  # loads Optuna

    rows = read_table(work.root, "runs", study_id=config.study_id).to_pylist()
    known = known_settings(rows, packs, config)
    fault: str | None = None
    asked: Mapping[int, Mapping[str, Any]] = {}
    if not content:
        is_missed = known or packs or work.place.names("runs")  # also where references alone were begun
        fault = ("missing" if content is None else "empty") if is_missed else None
    else:
        try:
            found = asked_in(content, config.study_id)
            fault = "of another study" if found is None else None
            asked = {number: of.params for number, of in (found or {}).items()}
        except BrokenJournal as error:
            fault = error.what
    if fault is None:
        apart = compared(asked, rows, packs, study)
        if apart.contradictions:
            raise InputError(
                f"{work.root}: {name} and runs/ are each whole, but contradict one another: {apart.contradictions[0]}. "
                "Move what is not of this study out of the folder; then `cfsweep repair` makes it of the other."
            )
        fault = f"it lacks {few(f'trial {number}' for number in apart.lacking)}" if apart.lacking else None
    if fault is None:
        return
    kinds = {key: of["kind"] for key, of in study["hypers"].items()}
    hypers = {key: _hyper(key, of) for key, of in study["hypers"].items()}
    first = _params(config, hypers, {})
    params = {number: _params(config, hypers, settings) for number, settings in known.items()}
    work.aside.move(name)
    write_journal(work.root / name, config, kinds, params, first, _reports(work.root, config, study))
    work.say(f"{name}: {fault}; made anew with the {len(params)} trial(s) of runs/ and of the packs on their way")
    anew = sorted(set(range(max(params, default=-1))) - set(params))
    if anew:
        work.say(f"{few(f'trial {number}' for number in anew)}: in no record; asked anew")


def _reports(root: Path, config: StudyConfig, study: Mapping[str, Any]) -> dict[int, dict[int, float]]:
    """By trial and task, the objective that the median rule was told of those that have ended."""
    found: dict[int, dict[int, float]] = {}
    if not config.stop_trials or config.objective.name != "mixed":
        return found
    score = study["scores"][0]["name"] if study.get("scores") else "accuracy"
    for number, matrix in ended_matrices(root, config.as_begun.seeds, score):
        for rung in range(1, min(len(matrix), matrix.shape[1] - 1)):
            with contextlib.suppress(UndefinedError):
                (found.setdefault(number, {})[rung],) = intermediate(matrix[: rung + 1], config.objective)
    return found


def _hyper(name: str, described: Mapping[str, Any]) -> Hyper:
    """As far as `study.yaml` describes it, which loads no code of the study's own."""
    choices = (described["default"],) if described["kind"] == "choice" else ()
    return Hyper(name, described["kind"], described["default"], "", choices=choices)


def _params(config: StudyConfig, hypers: Mapping[str, Hyper], settings: Mapping[str, Value | None]) -> dict[str, Value]:
    """The parameters that come to these settings; one that could not act gets its default."""
    found: dict[str, Value] = {}
    for name, searched in config.space.search.items():
        value = settings.get(name)
        found[name] = param_of(searched, default_within(searched, hypers[name]) if value is None else value)
    return found
