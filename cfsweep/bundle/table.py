"""What a bundle keeps of a table: how a raw row becomes an example, as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cfsweep.bundle.manifest import Manifest
from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.training.streams import Preprocessing

PREPROCESSING = "preprocessing.json"
_OTHER_ARGS = re.compile(r",?( or [a-z ]+,?)? `--arg [^`]*`")


@contextmanager
def settled() -> Iterator[None]:
    """What the columns of a table are was said when the bundle's stream was begun: what is refused in here advises no
    other arguments.

    >>> with settled():
    ...     raise InputError("column `age`: no. Mend it, or say `--arg 'types={age: category}'`.")
    Traceback (most recent call last):
        ...
    cfsweep.errors.InputError: column `age`: no. Mend it.
    """
    try:
        yield
    except InputError as error:
        raise type(error)(_OTHER_ARGS.sub("", str(error))) from error


def written(preprocessing: Preprocessing) -> bytes:
    """The file; a number in it reads as the very same one."""
    return preprocessing.model_dump_json(indent=1).encode() + b"\n"


def read_preprocessing(bundle: Path, about: Manifest) -> Preprocessing | None:
    """What the bundle in a folder has kept, whose files were held against their hashes; None where its data are no
    table.

    Raises:
        InputError: another version wrote it.
    """
    if PREPROCESSING not in about.files:
        return None
    try:
        return Preprocessing.model_validate_json((bundle / PREPROCESSING).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(
            f"{bundle / PREPROCESSING}: `{where}` is wrong ({first['msg']}). Export the model again."
        ) from error


def loading(config: StreamConfig, preprocessing: Preprocessing) -> dict[str, Any]:
    """What of a table's stream is to be said otherwise to load it again, with tasks that were continued with, perhaps:
    windows begin where they did, however many rows have come since."""
    args: Mapping[str, Any] = config.args
    return {"args": {**args, "windows": list(preprocessing.starts)}} if preprocessing.starts else {}
