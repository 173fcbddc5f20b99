"""The lines of a journal, each with a check of itself and of all before it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from cfsweep.errors import InputError
from cfsweep.results.sealing import opened_line, sealed_line

# Of Optuna's operations; another program, such as optuna-dashboard, writes them without a check.
_KEYS = frozenset(
    ("op_code", "worker_id", "study_name", "directions", "study_id", "user_attr", "system_attr", "trial_id")
    + ("datetime_start", "datetime_complete", "param_name", "param_value_internal", "distribution", "state", "values")
    + ("value", "step", "intermediate_value", "params", "distributions", "user_attrs", "system_attrs")
    + ("intermediate_values",)
)


class BrokenJournal(InputError):
    """A journal that cannot be gone on with, because of `what`."""

    def __init__(self, journal: Path, what: str) -> None:
        remedy = f"`cfsweep repair {journal.parent}` makes it anew of runs/ and of the packs on their way"
        super().__init__(f"{journal}: {what}. {remedy}.")
        self.what = what


@dataclass(frozen=True)
class _Place:
    """How far the lines were read: the last check, and what came after it without one."""

    check: str = ""
    between: bytes = b""
    n_lines: int = 0


class SealedLines:
    """Reads the lines of a journal in turn, and makes those that follow. Lines of an earlier version, and those of
    other programs, have no check; the next line with one vouches for them."""

    def __init__(self, path: Path, place: _Place | None = None) -> None:
        self.path, self.place = path, place or _Place()

    def read(self, line: bytes) -> bytes:
        """The operation in the next line.

        Raises:
            InputError: it is not as it was written, or lines before it are gone.
        """
        place, opened = self.place, opened_line(line)
        number = place.n_lines + 1
        if opened is None:
            if not self._is_of_others(line):
                raise BrokenJournal(self.path, f"line {number} is altered")
            self.place = replace(place, between=place.between + line, n_lines=number)
            return line
        body, check = opened
        if sealed_line(body, place.check, place.between)[1] != check:
            raise BrokenJournal(self.path, f"line {number} is altered, or one before it, or such are gone")
        self.place = _Place(check, b"", number)
        return body

    def sealed(self, bodies: list[bytes]) -> tuple[bytes, SealedLines]:
        """The lines for these operations, and what reads on after them."""
        place, content = self.place, b""
        for body in bodies:
            line, check = sealed_line(body.rstrip(b"\n"), place.check, place.between)
            place = _Place(check, b"", place.n_lines + 1)
            content += line
        return content, SealedLines(self.path, place)

    def _is_of_others(self, line: bytes) -> bool:
        try:
            operation = json.loads(line)
        except ValueError:
            return False
        return isinstance(operation, dict) and (not self.place.check or operation.keys() <= _KEYS)
