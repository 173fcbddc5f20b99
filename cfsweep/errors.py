"""The errors a user can meet, each one line: where, the rule, the value, the remedy."""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable
from pathlib import Path

EXIT_INTERRUPTED = 130  # of a sweep that can be resumed


class CfsweepError(Exception):
    """Anything cfsweep raises on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 2


class InputError(CfsweepError):
    """The input breaks a rule: exit code 2, one line, nothing half-written."""


class NoAnswerError(CfsweepError):
    """The question was understood and its answer is no (a gate that fails): exit code 1."""

    exit_code = 1


class NoRoomError(CfsweepError):
    """A sweep has ended because a disk was full for too long: exit code 4. It can be resumed."""

    exit_code = 4


class NotCarriedError(CfsweepError):
    """The store of a study was away for too long: exit code 4. Nothing is lost, and `cfsweep resume` goes on."""

    exit_code = 4


def not_written(error: OSError) -> InputError:
    """The one line for a place that cannot be written to.

    >>> print(not_written(OSError(errno.ENOSPC, "No space left on device", "runs/a")))
    runs/a: no space left on device. Make room; `cfsweep resume` and `confirm` go on with theirs, all else begins anew.
    """
    room = "Make room; `cfsweep resume` and `confirm` go on with theirs, all else begins anew."
    remedy = room if error.errno in FULL else "Choose another place, or mend this one."
    return InputError(f"{error.filename or 'a file'}: {str(error.strerror).lower()}. {remedy}")


FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, or of what the user may have of it
# Of a machine, not of a bug: what is missing or of another kind is told where it is opened.
NO_FAULT_OF_OURS = (
    *FULL,
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.ENOTDIR, errno.ENAMETOOLONG),
)


def closest_first(name: str, known: Iterable[str]) -> list[str]:
    """`known`, sorted by likeness to `name` (ties alphabetically).

    >>> closest_first("replai", ["ewc", "replay"])
    ['replay', 'ewc']
    """

    def unlikeness(candidate: str) -> tuple[float, str]:
        return (-difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio(), candidate)

    return sorted(known, key=unlikeness)


def unknown(where: str, kind: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` that names the known ones, the five closest first.

    >>> print(unknown("space.yaml", "ingredient", "ewx", ["replay", "ewc"]))
    space.yaml: unknown ingredient `ewx`. Known, closest first: ewc, replay.
    """
    listed = few(closest_first(name, known)) or "(none)"
    return InputError(f"{where}: unknown {kind} `{name}`. Known, closest first: {listed}.")


def few(values: Iterable[object]) -> str:
    """The first five, and how many more there are.

    >>> few([3, 4]), few(range(9))
    ('3, 4', '0, 1, 2, 3, 4 and 4 more')
    """
    listed = [str(value) for value in values]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def short(value: object) -> str:
    """A value as it is shown in a line.

    >>> short("a"), len(short("a" * 100))
    ('`a`', 59)
    """
    text = f"`{value}`"
    return text if len(text) <= 60 else f"{text[:57]}…`"


def raised_in(error: BaseException) -> str:
    """Where an error was raised, as its author can look it up: the innermost place that is not in torch or Python."""
    places = traceback.extract_tb(error.__traceback__)
    own = [p for p in places if not {"torch", "numpy", "functools.py"} & {*Path(p.filename).parts}] or list(places)
    if not own:
        return "an unknown place"
    *_, folder, file = ("", *Path(own[-1].filename).parts)
    return f"{folder}/{file}, line {own[-1].lineno}, in {own[-1].name}"


def first_line(error: BaseException) -> str:
    """The error's type and the first line of its message: what fits into one line for the user.

    >>> first_line(ValueError("bad shape\\nmore"))
    'ValueError: bad shape'
    """
    message = str(error).strip()
    return f"{type(error).__name__}: {message.splitlines()[0]}" if message else type(error).__name__
