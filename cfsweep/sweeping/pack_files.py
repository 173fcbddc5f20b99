"""The files of the packs on their way, from which a later driver takes them up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from cfsweep.files import read_bounded, write_atomically
from cfsweep.results.schema import TABLES
from cfsweep.results.sealing import opened_line, sealed_line
from cfsweep.sweeping.folder import Folder
from cfsweep.training.spec import PackSpec


def read_pack(content: bytes) -> tuple[PackSpec, int] | None:
    """(specification, attempt) in the file of a pack; None if it is not as it was written."""
    opened = opened_line(content)
    if opened is not None and sealed_line(opened[0])[1] != opened[1]:
        return None
    try:  # an earlier version wrote no check
        found = json.loads(content)
        return PackSpec.from_dict(found["spec"]), int(found["attempt"])
    except (ValueError, TypeError, KeyError):
        return None


class PackFiles:
    """`checkpoints/<pack>.json`, what the pack is, beside `checkpoints/<pack>.pt`, how far it is."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def save(self, pack_id: str, spec: PackSpec, attempt: int) -> None:
        content, _ = sealed_line(json.dumps({"spec": spec.to_dict(), "attempt": attempt}).encode())
        write_atomically(self.folder.checkpoints / f"{pack_id}.json", lambda file: file.write(content))

    def saved(self) -> Iterator[tuple[str, PackSpec, int]]:
        """(name, specification, attempt) of each pack that an earlier driver had on its way, as far as its file is as
        it was written."""
        for path in sorted(self.folder.checkpoints.glob("pack*.json")):
            found = read_pack(read_bounded(path))
            if found is not None:
                yield path.stem, *found

    def remove(self, pack_id: str) -> None:
        for suffix in (".json", ".pt"):
            (self.folder.checkpoints / f"{pack_id}{suffix}").unlink(missing_ok=True)

    def first_free(self) -> int:
        """The first number such that no pack from there on is named like one that was: it would replace its parts."""
        names = [path.name for place in (*TABLES, "checkpoints") for path in self.folder.root.glob(f"{place}/pack*")]
        numbers = [int(found[1]) for name in names if (found := re.match(r"pack(\d+)", name))]
        return max(numbers, default=-1) + 1
