"""`cfsweep check`: what of a results folder is torn, missing, altered or unknown. It writes nothing, and runs nothing
of what the folder brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfsweep import identity
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.results import addresses
from cfsweep.results.checking import (
    Finding,
    Place,
    check_ledger,
    check_parts,
    check_study_file,
    fault_of_selection,
    fault_of_study,
)
from cfsweep.results.leftovers import PLACES, is_leftover
from cfsweep.results.reader import COPY, JOURNALS, STUDY, filesystem, read_table, study_in, told_if_unread
from cfsweep.results.stages import SELECTION
from cfsweep.results.status import is_held
from cfsweep.sweeping.confirm import FOLDERS
from cfsweep.sweeping.parsing import parse
from cfsweep.sweeping.search.lines import BrokenJournal
from cfsweep.sweeping.two_records import (
    Disagreement,
    Settings,
    disagreement,
    settings_of_packs,
    settings_of_rows,
    values_of_params,
)
from cfsweep.sweeping.working_files import check_working_files
from cfsweep.training.spec import PackSpec


@dataclass(frozen=True)
class Checked:
    """What `check` has found, in the folder and in those within it where trials were confirmed; `n_files`: so many
    files hold results. `running`: a sweep writes to the folder now, on this machine."""

    findings: tuple[Finding, ...]
    n_files: int
    running: bool = False

    @property
    def damaged(self) -> tuple[Finding, ...]:
        """Those that are not harmless."""
        return tuple(finding for finding in self.findings if not finding.harmless)


def check(root: str | Path) -> Checked:
    """What of the study in the folder `root`, local or remote, is not as it was written.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    fs, path = filesystem(root)
    place = Place(fs, path)
    with told_if_unread(root):
        if not any(place.read_study(name) is not None for name in (STUDY, COPY)):
            raise InputError(f"{root}: no study.yaml there. Give the folder that `cfsweep run --out` wrote.")
        found, n_files = _check(root, place)
        for name in FOLDERS.values():
            inside = Place(fs, f"{path}/{name}")
            if inside.read_study() is not None or inside.read_study(COPY) is not None:
                more, n_more = _check(addresses.inside(root, name), inside)
                found += [finding._replace(path=f"{name}/{finding.path}") for finding in more]
                n_files += n_more
        return Checked(tuple(found), n_files, is_held(root))


def _check(root: str | Path, place: Place) -> tuple[list[Finding], int]:
    found = check_study_file(place)
    study = None if fault_of_study(content := place.read_study()) else study_in(content or b"", STUDY)
    ledger, faults = check_ledger(place, study["study_id"] if study else None)
    n_files, of_parts = check_parts(place, ledger, is_carried=addresses.is_address(root))
    packs, of_packs = check_working_files(place)
    if ledger is None and not faults:  # an earlier version, of whose working files this one makes new ones
        of_packs = [finding._replace(harmless=True) for finding in of_packs]
    found += [*faults, *of_parts, *of_packs]
    if study is not None:
        damaged = any(not finding.harmless for finding in found)
        found += _check_journal(root, place, study, packs, compare=not damaged)
    if fault := fault_of_selection(place):
        found.append(Finding(SELECTION, f"{fault}; remove it, and select anew"))
    if is_held(root):  # what is not finished is being worked at
        return [finding for finding in found if not finding.harmless], n_files
    for folder in ("", *PLACES):
        left = [name for name in place.names(folder) if is_leftover(folder, name)]
        found += [Finding(f"{folder}/{name}".lstrip("/"), "left by a killed driver", harmless=True) for name in left]
    return found, n_files


def journal_in(place: Place) -> tuple[str, bytes | None]:
    """The name of the journal, and what is in it."""
    old, now = JOURNALS
    content = place.read(old)
    return (old, content) if content is not None else (now, place.read(now))


def _check_journal(
    root: str | Path, place: Place, study: Mapping[str, Any], packs: list[PackSpec], compare: bool
) -> list[Finding]:
    if "confirms" in study:  # its trials are listed in `study.yaml`
        return []
    # In this order: what has a row or a pack was in the journal before.
    rows = read_table(root, "runs", study_id=study["study_id"]).to_pylist() if compare else []
    name, content = journal_in(place)
    if not content:
        what = "missing" if content is None else "empty"
        return [Finding(name, what)] if packs or place.names("runs") else []
    from cfsweep.sweeping.search.history import asked_in  # loads Optuna

    found = []
    if not content.endswith(b"\n"):
        found.append(Finding(name, "its last line is torn: its operation is done again", harmless=True))
    try:
        asked = asked_in(content, study["study_id"])
    except BrokenJournal as error:
        return [Finding(name, error.what)]
    if asked is None:
        return [Finding(name, "of another study")]
    if not compare:
        return found
    apart = compared({number: of.params for number, of in asked.items()}, rows, packs, study)
    if apart.lacking:
        found.append(Finding(name, f"cut: it lacks trials of runs/, or of packs on their way ({few(apart.lacking)})"))
    found += [Finding(name, said) for said in apart.contradictions]
    lost = sorted({number for number, of in asked.items() if of.ended} - {row["trial"] for row in rows})
    if lost:
        found.append(Finding("runs", f"without rows of trials that have ended ({few(lost)})", harmless=True))
    return found


def compared(
    asked: Mapping[int, Mapping[str, Any]], rows: list[dict[str, Any]], packs: list[PackSpec], study: Mapping[str, Any]
) -> Disagreement:
    """Where the parameters in the journal, by trial, are others than in rows of `runs/` and packs on their way."""
    config = config_of(study)
    space, kinds = config.space, {name: of["kind"] for name, of in study["hypers"].items()}
    values = {number: values_of_params(space, kinds, params) for number, params in asked.items()}
    return disagreement(values, known_settings(rows, packs, config))


def known_settings(rows: list[dict[str, Any]], packs: list[PackSpec], config: StudyConfig) -> dict[int, Settings]:
    """By trial, the searched settings that stand in the rows of `runs/` and in the packs on their way."""
    names = config.space.search
    return {**settings_of_rows(rows, names), **settings_of_packs(packs, names)}


def config_of(study: Mapping[str, Any]) -> StudyConfig:
    """The frozen config in a `study.yaml`."""
    content = {"identity_version": 0, **study.get("config", {})}
    return parse(StudyConfig, identity.with_earlier_defaults(StudyConfig, content), STUDY)
