"""What a trainer from outside has returned, held against what it must return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfsweep.config import PARTS
from cfsweep.errors import InputError, few, unknown
from cfsweep.training.outside.function import State
from cfsweep.training.targets import Score, registry

ACCURACY = registry["classification"].scores[0]
COUNT_OF = {f"n_{part}": part for part in PARTS}


@dataclass(frozen=True)
class Answer:
    """What one call has returned: the `scores` on all tasks, by part of their examples (`validation`, perhaps `test`);
    of how many examples they are (`n_examples`), for the parts of which that is said; the `names` of the tasks, where
    they have some; and the new state."""

    scores: Mapping[str, list[float]]
    n_examples: Mapping[str, list[int]]
    names: tuple[str, ...]
    state: State

    @property
    def n_tasks(self) -> int:
        return len(self.scores["validation"])


def answer_of(
    returned: Any, where: str, n_tasks: int | None = None, last: bool = False, score: Score = ACCURACY
) -> Answer:
    """`returned`, which a `TrainFunction` that returns this `score` has given for one of `n_tasks` tasks (None: as many
    as it scores), perhaps for the `last`, after which there may be no state.

    Raises:
        InputError: it is something else; `where` opens the line.

    >>> answer_of(([0.9, 0.5], b"weights"), "task 0")
    Answer(scores={'validation': [0.9, 0.5]}, n_examples={}, names=(), state=b'weights')
    >>> answer_of(({"validation": {"old": 0.9, "new": 0.5}, "n_validation": [20, 30]}, b""), "task 0").names
    ('old', 'new')
    """
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise InputError(f"{where}: it must return (scores, state), but returned {_kind(returned)}. Return the pair.")
    told, state = returned
    by_part = told if isinstance(told, Mapping) else {"validation": told}
    for name in by_part:
        if name not in (*PARTS, *COUNT_OF):
            raise unknown(where, "part of the scores", str(name), (*PARTS, *COUNT_OF))
    if "validation" not in by_part:
        raise InputError(f"{where}: the scores have no `validation`, which steers the sweep. Add it.")
    names = _names(by_part, where)
    found = {name: _numbers(of, name, where) for name, of in by_part.items()}
    n_tasks = n_tasks or len(found["validation"])
    for name, values in found.items():
        if len(values) != n_tasks:
            raise InputError(
                f"{where}: `{name}` must have a number for each of {n_tasks} tasks, but has {len(values)}. "
                "Score every task, those to come too."
            )
    scores = {
        part: [_score(x, score, part, k, where) for k, x in enumerate(found[part])] for part in PARTS if part in found
    }
    counts = {
        part: [_count(x, name, k, where) for k, x in enumerate(found[name])]
        for name, part in COUNT_OF.items()
        if name in found
    }
    return Answer(scores, counts, names, _state(state, where, last))


def _names(by_part: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The names of the tasks, where some part has them."""
    names = {part: tuple(map(str, of)) for part, of in by_part.items() if isinstance(of, Mapping)}
    for part, found in names.items():
        first = next(iter(names.values()))
        if found != first:
            raise InputError(
                f"{where}: all parts must name the same tasks in the same order, but `{part}` has {few(found)} "
                f"in place of {few(first)}. Name them alike."
            )
    return next(iter(names.values()), ())


def _numbers(values: Any, part: str, where: str) -> list[float]:
    """`values`, a list, an array of one dimension, or a mapping to numbers, as a list."""
    values = list(values.values()) if isinstance(values, Mapping) else values
    if isinstance(values, str | bytes) or not (isinstance(values, Sequence) or hasattr(values, "__array__")):
        raise InputError(f"{where}: `{part}` must be a list of numbers, but is {_kind(values)}. Give one per task.")
    found = []
    for value in values:
        try:
            found.append(float("" if isinstance(value, str) else value))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{where}: `{part}` must be a list of numbers, but has {_kind(value)} in it. Give one for each task."
            ) from error
    return found


def _score(value: float, score: Score, part: str, task: int, where: str) -> float:
    low, high = score.bounds
    if not math.isfinite(value):
        without = f"{low:g} where there is none" if math.isfinite(low) else "of a task to come the model's as it is"
        raise InputError(f"{where}: the {part} score on task {task} is {value}. Give a number, {without}.")
    if not low <= value <= high:
        ends = (f"{low:g} <= " if math.isfinite(low) else "", f" <= {high:g}" if math.isfinite(high) else "")
        raise InputError(
            f"{where}: `{ends[0]}{score.name}{ends[1]}` must hold, but got {value:g} ({part}, task {task}). Return "
            "that score, the higher the better, or say with --score which one it is."
        )
    return value


def _count(value: float, name: str, task: int, where: str) -> int:
    if not value.is_integer() or value < 1:
        raise InputError(f"{where}: `{name}` must be whole numbers from 1 up, but got {value:g} for task {task}.")
    return int(value)


def _state(state: Any, where: str, last: bool) -> State:
    if state is None and not last:
        raise InputError(
            f"{where}: it returned no state, so the next task would begin from nothing. Return bytes or a folder (b'' "
            "if that is meant)."
        )
    if state is None or isinstance(state, bytes):
        return state
    if not isinstance(state, Path):
        raise InputError(
            f"{where}: the state must be bytes or a folder (a pathlib.Path), so that it can go on elsewhere, but is "
            f"{_kind(state)}. Save it, with torch.save into an io.BytesIO, say."
        )
    if not state.is_dir():
        raise InputError(f"{where}: the state must be a folder, but {state} is none. Return the folder of the files.")
    return state


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
