"""The stream of a bundle's tasks, loaded again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cfsweep.bundle.manifest import Manifest
from cfsweep.bundle.table import loading, settled
from cfsweep.errors import InputError
from cfsweep.training.plugins import named
from cfsweep.training.streams import Preprocessing, Stream, load_stream


def stream_of(
    about: Manifest,
    data: str | None,
    name: str | None,
    option: str,
    table: Preprocessing | None = None,
    at_least: int | None = None,
) -> Stream:
    """The stream whose first tasks are those of the bundle, cut as they were, all of them or `at_least` so many. `name`
    says which it is where it is not to be found under the name in the bundle (a folder that has moved, or tasks that
    were continued with), `data` where the data sets lie; `option` is what the user names it with. Where the bundle has
    kept what makes examples of a `table`, `data` may be that itself.

    Raises:
        InputError: it cannot be loaded, or has too few tasks.
    """
    named(name)
    config = about.stream_config
    if table is None and name is not None and Path(name).is_file():
        raise InputError(
            f"{option} {name}: the bundle was trained on `{config.name}`, not on a file. Name that, where it is now."
        )
    changes: dict[str, Any] = {"data": data, "name": name or config.name}
    if name is not None and about.continues and config.n_tasks is not None:
        changes["n_tasks"] = len(about.tasks)  # there were so many before the last one
    if table is not None:
        changes = {"name": name or data or config.name, **loading(config, table)}
    try:
        with settled():
            found = load_stream(config.model_copy(update=changes))
    except InputError as error:
        raise InputError(re.sub("^--stream(?=:)", option, str(error))) from error  # as it is called here
    if len(found.tasks) < (at_least or len(about.tasks)):
        raise InputError(
            f"stream `{found.name}`: it must have all {len(about.tasks)} tasks that the bundle has learned, but has "
            f"{len(found.tasks)}. Name one that has `{about.tasks[-1].name}`, too, with {option}: a folder of all."
        )
    return found
