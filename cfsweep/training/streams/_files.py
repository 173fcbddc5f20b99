"""Where the data lies, and what proves which data it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.files import expanded, open_regular

DATA_VARIABLE = "CFSWEEP_DATA"


def default_data_root() -> str | None:
    """Where the data sets lie unless a study says otherwise: the environment variable `CFSWEEP_DATA`."""
    return os.environ.get(DATA_VARIABLE)


def data_root(config: StreamConfig) -> Path:
    """The folder with the data sets: `config.data`, else the environment variable `CFSWEEP_DATA`.

    Raises:
        InputError: neither is set, or the folder does not exist (and nothing may be downloaded into it).
    """
    named = config.data or default_data_root()
    if not named:
        raise InputError(
            f"stream `{config.name}`: it reads data files, but no folder was named. "
            f"Pass `--data DIR` or set {DATA_VARIABLE}; `--download` fetches them into that folder."
        )
    root = expanded(named)
    if not root.is_dir() and not config.download:
        raise InputError(f"stream `{config.name}`: there is no folder {root}. {remedy()}")
    return root


def require_files(config: StreamConfig, root: Path, names: Iterable[str]) -> None:
    """Raise an `InputError` that names the first of `names` that is missing under `root`."""
    for name in names:
        if not (root / name).is_file():
            raise InputError(f"stream `{config.name}`: the file {root / name} is missing. {remedy()}")


def remedy() -> str:
    return f"Name the folder with `--data` or {DATA_VARIABLE}, or fetch the data with `--download`."


def sha256(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
