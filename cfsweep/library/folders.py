"""The folders of studies that are written to."""

from __future__ import annotations

from pathlib import Path

from cfsweep.errors import InputError


def own_folder(folder: str | Path) -> Path:
    """A folder of this machine.

    Raises:
        InputError: it is a URI: a study is locked and its journal appended to, which no object store can do.
    """
    if "://" in str(folder):
        raise InputError(
            f"{folder}: a study is written in a folder of this machine, or one that is mounted. Give such a one; what "
            "is written there can be copied, and read from anywhere."
        )
    return Path(folder)
