"""One case, tried; and what is left of a failing one when all is taken away that it fails without."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.cases import Case
from tests.fuzz.guard import Ended, call
from tests.fuzz.judge import REFUSED, contents, fault, fault_of_repair

_HEAVY = (
    *("cfsweep.cli", "cfsweep.library.sweeps", "cfsweep.library.models", "cfsweep.library.adopted", "analysis.cli"),
    *("cfsweep.library.predictions", "cfsweep.sweeping.study", "cfsweep.sweeping.search.asker", "cfsweep.bundle"),
    *("cfsweep.bundle.paired", "cfsweep.bundle.continued", "cfsweep.sweeping.dry_run", "cfsweep.sweeping.confirm"),
    *("cfsweep.sweeping.local", "cfsweep.sweeping.export", "cfsweep.training.listing", "analysis.reporting.page"),
    *(
        "pyarrow.csv",
        "pyarrow.dataset",
        "pandas",
        "torch._dynamo",
        "torchvision",
        "PIL.Image",
        "plotly.io",
        "matplotlib.figure",
    ),
)


AFTERWARDS = (("resume", "out", "--workers", "0", "--trials", "+1"), ("report", "out", "--out", "page.html"))


@dataclass(frozen=True)
class Tried:
    """A case, how it ended, and what was wrong with that."""

    case: Case
    ended: Ended
    fault: str | None

    def __str__(self) -> str:
        edits = "; ".join(edit.about for edit in self.case.edits)
        shown = " ".join(part if len(part) < 60 else f"{part[:50]}…" for part in self.case.args)
        return f"[{self.case.kind}] {edits}\n    cfsweep {shown}\n    {self.fault}"


def loaded() -> None:
    """Loads what the commands load, so that each child finds it; and has no program written into a bundle, which takes
    most of the time."""
    for name in _HEAVY:
        importlib.import_module(name)
    from cfsweep.bundle.program import Program

    Program.save = lambda program, path, pack: path.write_bytes(b"")  # type: ignore[method-assign, assignment, misc]


def tried(case: Case, templates: Path, folder: Path) -> Tried:
    """The case, in a folder that is made for it and removed."""
    shutil.rmtree(folder, ignore_errors=True)
    case.lay(templates, folder)
    before = contents(folder)
    ended = call(case.command_line, folder)
    found = fault(case.args[0], ended, before, contents(folder), case.writes)
    if found is None and case.args[0] == "run" and case.writes is not None and ended.code != REFUSED:
        for args in AFTERWARDS:  # what was accepted works to the end
            ended, before = call(args, folder), contents(folder)
            found = found or fault(args[0], ended, before, contents(folder), None)
            if found is None and ended.code == REFUSED:
                found = f"accepted, and then refused: {ended.err.strip()[:200]}"
            found = found and f"{args[0]} afterwards: {found}"
    if found is None and case.args[0] == "repair" and ended.code != REFUSED:
        before, checked = contents(folder), call(("check", *case.args[1:]), folder)
        found = fault("check", checked, before, contents(folder), None) or fault_of_repair(checked)
        found = found and f"check afterwards: {found}"
    shutil.rmtree(folder, ignore_errors=True)
    return Tried(case, ended, found)


def reduced(found: Tried, templates: Path, folder: Path) -> Tried:
    """The case with as few edits as fail as it does."""
    for edit in found.case.edits:
        if len(found.case.edits) > 1:
            fewer = tried(found.case.without(edit), templates, folder)
            found = fewer if fewer.fault == found.fault else found
    return found
