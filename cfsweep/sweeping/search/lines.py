"""The lines of a journal, each with a check of itself and of all before it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import copy
from hashlib import sha256
from pathlib import Path

from cfsweep.errors import InputError
from cfsweep.results.addresses import in_command
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
        remedy = f"`cfsweep repair {in_command(journal.parent)}` makes it anew of runs/ and of the packs on their way"
        super().__init__(f"{journal}: {what}. {remedy}.")
        self.what = what


class SealedLines:
    """Reads the lines of a journal in turn, and makes those that follow. Lines of an earlier version, and those of
    other programs, have no check; the next line with one vouches for them."""

    def __init__(self, path: Path) -> None:
        self.path, self.n_lines = path, 0
        self._before = sha256()  # of the last check, and of what came after it without one
        self._any_sealed = False

    def read(self, line: bytes) -> bytes:
        """The operation in the next line.

        Raises:
            InputError: it is not as it was written, or lines before it are gone.
        """
        opened, number = opened_line(line), self.n_lines + 1
        if opened is None:
            if not self._is_of_others(line):
                raise BrokenJournal(self.path, f"line {number} is altered")
            self._before.update(line)
        else:
            body, check = opened
            if sealed_line(body, self._before)[1] != check:
                raise BrokenJournal(self.path, f"line {number} is altered, or one before it, or such are gone")
            self._go_on(check)
        self.n_lines = number
        return line if opened is None else body

    def sealed(self, bodies: Iterable[bytes]) -> tuple[bytes, SealedLines]:
        """The lines for these operations, and what reads on after them."""
        after, lines = copy(self), []
        for body in bodies:
            line, check = sealed_line(body.rstrip(b"\n"), after._before)
            after._go_on(check)
            after.n_lines += 1
            lines.append(line)
        return b"".join(lines), after

    def _go_on(self, check: str) -> None:
        self._before, self._any_sealed = sha256(check.encode()), True

    def _is_of_others(self, line: bytes) -> bool:
        try:
            operation = json.loads(line)
        except ValueError:
            return False
        return isinstance(operation, dict) and (not self._any_sealed or operation.keys() <= _KEYS)
