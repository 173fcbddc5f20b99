"""Optuna's journal for one writer of many trials: few writes, and no search through all trials for what is new."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from cfsweep.files import append_whole
from cfsweep.sweeping.search.lines import SealedLines
from cfsweep.sweeping.search.optuna_internals import JournalFile, trials_in


class GroupedFile(JournalFile):
    """A journal file, written as Optuna writes it, or (`grouping`) many operations with one write and one sync; each
    line has a `check` besides (`SealedLines`).

    While grouping, an operation counts for the study at once, and reaches the file with the next `flush`; those made
    within `held` only with the next `release`. An operation of one trial commutes with those of the others, and a new
    trial, whose number is its place in the file, is to be made within `together`. It serves one storage.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.grouping = False
        self._offset = 0  # in the file: what lies before it is known
        self._lines = SealedLines(path)
        self._unread: deque[Any] = deque()  # operations that the storage has not seen
        self._free: list[bytes] = []
        self._held: list[bytes] = []
        self._target = self._free

    @property
    def pending(self) -> bool:
        """Whether something is not in the file."""
        return bool(self._free or self._held)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The operations that the storage does not know; it never asks for one again."""
        while self._unread:
            yield self._unread.popleft()
        if not self.grouping:
            for line in self._lines_of_others():
                yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        self._target += lines
        if not self.grouping:
            self.flush()
        self._unread.extend(map(json.loads, lines))

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done within is written at its end, at once, and nobody else writes meanwhile."""
        with self.locked():
            self._unread.extend(map(json.loads, self._lines_of_others()))
            yield
            self._write(self._free)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done within waits for `release`."""
        self._target = self._held
        try:
            yield
        finally:
            self._target = self._free

    def flush(self) -> None:
        """Writes all that is not held."""
        if self._free:
            with self.together():
                pass

    def release(self) -> None:
        """Writes all."""
        self._free += self._held
        self._held.clear()
        self.flush()

    def _lines_of_others(self) -> Iterator[bytes]:
        if os.path.getsize(self.path) == self._offset:
            return
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield self._lines.read(line)

    def _write(self, lines: list[bytes]) -> None:
        if os.path.getsize(self.path) != self._offset:
            raise ValueError(f"{self.path}: its last line is torn")
        content, after = self._lines.sealed(lines)
        append_whole(Path(self.path), content, self._offset)
        self._lines = after
        self._offset += len(content)
        lines.clear()


class Journal(JournalStorage):
    """A study's storage that knows which trials are running, and which have ended in which order."""

    def __init__(self, path: Path) -> None:
        self.file = GroupedFile(path)
        self.running: dict[int, None] = {}  # ids, in the order in which the trials began
        self.ended: list[int] = []
        super().__init__(self.file)
        for trial_id, state in trials_in(self):
            self._note(trial_id, state)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self._note(trial_id, template_trial.state if template_trial else TrialState.RUNNING)
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        is_set = super().set_trial_state_values(trial_id, state, values)
        if is_set:
            self._note(trial_id, state)
        return is_set

    def _note(self, trial_id: int, state: TrialState) -> None:
        if state == TrialState.RUNNING:
            self.running[trial_id] = None
        elif state.is_finished():
            self.running.pop(trial_id, None)
            self.ended.append(trial_id)
