"""The command of a sweep that another machine runs, and the file that says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cfsweep.errors import InputError
from cfsweep.files import write_atomically

VERBS = ("run", "resume", "confirm")
OURS = ("--address", "--insecure")  # the batch system starts the cluster, and says where it is


def checked(command: Sequence[str], where: str) -> list[str]:
    """The arguments of `cfsweep` that are to run there, as a list.

    Raises:
        InputError: it is none that trains, has no folder of its own, or says itself where the cluster is.
    """
    verb = command[0] if command else ""
    if verb not in VERBS:
        raise InputError(f"{where}: after `--` a command is needed that trains ({', '.join(VERBS)}), but got `{verb}`.")
    options = [word.partition("=")[0] for word in command]
    for option in OURS:
        if option in options:
            raise InputError(f"{where}: the job starts a cluster of its own, but got {option}. Leave it out.")
    if verb == "run" and "--out" not in options:
        raise InputError(f"{where}: `run` needs --out, a folder that outlives the job: there the next one goes on.")
    if value_of(command, "--workers") == "0":
        raise InputError(f"{where}: --workers 0 trains in one process. Leave it out; the job has many.")
    return list(command)


def value_of(command: Sequence[str], option: str) -> str | None:
    """What an option is given, None where it is not.

    >>> value_of(["run", "a", "--workers", "3"], "--workers"), value_of(["--workers=3"], "--workers")
    ('3', '3')
    """
    for word, after in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else after
    return None


def write(text: str, path: Path) -> Path:
    """Writes the file where there is none yet.

    Raises:
        InputError: there is one.
    """
    if path.exists():
        raise InputError(f"{path}: it exists. Name another file with --to, or remove it.")
    return write_atomically(path, lambda file: file.write(text.encode()))
