"""The files with which packs on their way go on: what is damaged of them is set aside, and trained again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs as pafs

from cfsweep.errors import InputError
from cfsweep.files import unsealed
from cfsweep.results.checking import Finding, Place
from cfsweep.results.ledger import LEDGER
from cfsweep.results.leftovers import remove_leftovers
from cfsweep.sweeping.broker import DAMAGED
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.pack_files import read_pack
from cfsweep.training.spec import PackSpec

CHECKPOINTS = "checkpoints"
ASIDE = "damaged"


def check_working_files(place: Place) -> tuple[list[PackSpec], list[Finding]]:
    """The packs on their way, and what is wrong with their files, their checkpoints, and the first tasks."""
    packs, found = [], []
    names = place.names(CHECKPOINTS)
    for name in (name for name in names if not name.startswith(".")):
        content = place.read(f"{CHECKPOINTS}/{name}")
        if content is None:  # it is over by now
            continue
        path = f"{CHECKPOINTS}/{name}"
        if name.startswith("pack") and name.endswith(".json"):
            pack = read_pack(content)
            if pack is None:
                found.append(Finding(path, "torn or altered: its runs begin anew"))
            else:
                packs.append(pack[0])
        elif name.endswith(".pt"):
            if unsealed(content) is None:
                found.append(Finding(path, "torn, altered or of another version: what went on from it begins anew"))
            elif name.startswith("pack") and name.replace(".pt", ".json") not in names:
                found.append(Finding(path, "of a pack that is over", harmless=True))
        elif name.endswith(DAMAGED):
            found.append(Finding(path, "a checkpoint that could not be read, and was set aside", harmless=True))
        else:
            found.append(Finding(path, "unknown: nothing of cfsweep is called so", harmless=True))
    return packs, found


class Aside:
    """Where what is damaged in the folder `root` is moved to: `damaged/<now>/`, under the path that it has."""

    def __init__(self, root: Path) -> None:
        self.root, self.to = root, root / ASIDE / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")

    def move(self, path: str) -> None:
        """Moves a file, by path in the folder; nothing where there is none."""
        here, there = self.root / path, self.to / path
        if here.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            here.rename(there)


def set_aside_working_files(root: Path, aside: Aside) -> tuple[list[PackSpec], list[str]]:
    """The packs whose files are whole; and what was set aside of the others, a line each."""
    packs, found = check_working_files(Place(pafs.LocalFileSystem(), str(root.absolute())))
    damaged = [finding for finding in found if not finding.harmless]
    for finding in damaged:
        aside.move(finding.path)
        if finding.path.endswith(".json"):
            aside.move(finding.path.replace(".json", ".pt"))
    return packs, [f"{finding.path}: {finding.what}; set aside" for finding in damaged]


def tidy_complete(folder: Folder) -> None:
    """Removes what killed drivers have left in the folder of a study that is complete, where it may be written to and
    nobody is at it; packs and first tasks, too: none is on its way any more. A copy of `study.yaml` that is gone is
    written anew."""
    with suppress(OSError, InputError), folder.locked():
        folder.restore_copy()
        remove_leftovers(folder.root)
        folder.forget_packs()


def tidy(root: Path) -> list[str]:
    """Readies the folder, which the caller holds, for a driver: what others that were killed left is removed, and what
    is damaged of the packs on their way set aside, a line each; none where an earlier version wrote them."""
    remove_leftovers(root)
    _, said = set_aside_working_files(root, Aside(root))
    return said if (root / LEDGER).exists() else []
