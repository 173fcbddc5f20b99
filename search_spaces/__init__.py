"""The search spaces that ship with cfsweep, one YAML file per question."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml

from cfsweep.errors import unknown


def names() -> tuple[str, ...]:
    """The shipped spaces in alphabetical order.

    >>> "mixed" in names()
    True
    """
    files = (Path(str(file)) for file in resources.files(__name__).iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".yaml"))


def path(name: str) -> Path:
    """Where the shipped space `name` lies.

    >>> path("mixed").name
    'mixed.yaml'

    Raises:
        InputError: there is no such space; the known ones are named, closest first.
    """
    if name not in names():
        raise unknown("search_spaces", "space", name, names())
    return Path(str(resources.files(__name__) / f"{name}.yaml"))


def description(name: str) -> str:
    """The first line of the space's own description.

    >>> description("mixed")
    'EWC, replay and PackNet in one network; which mix, and how much of each?'
    """
    return str(yaml.safe_load(path(name).read_text()).get("description", ""))
