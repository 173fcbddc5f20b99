"""Trainers from outside, good and bad. The good ones do some arithmetic in place of learning: a task that is learned is
known by 0.9 and a little luck, and each later one takes a part of that away."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

N_TASKS = 4
Given = tuple[dict[str, Any], int, int, Any]


def known_after(settings: dict[str, Any], seed: int, task: int, known: list[float]) -> list[float]:
    """What is known of each task so far, after one more."""
    luck = random.Random(f"{seed} {task}").random()
    return [*(score * settings["kept"] for score in known), 0.9 * settings["rate"] + 0.05 * luck]


def scores_of(known: list[float]) -> dict[str, list[float]]:
    """Validation and test scores on all tasks; 0.1 where nothing is known."""
    validation = known + [0.1] * (N_TASKS - len(known))
    return {"validation": validation, "test": [0.5 * score for score in validation]}


def train(settings: dict[str, Any], seed: int, task: int, state: bytes | Path | None) -> tuple[Any, bytes]:
    """Keeps its state in bytes."""
    before = json.loads(state) if isinstance(state, bytes) else []
    assert len(before) == task
    known = known_after(settings, seed, task, before)
    return scores_of(known), json.dumps(known).encode()


def in_a_folder(settings: dict[str, Any], seed: int, task: int, state: bytes | Path | None) -> tuple[Any, Path]:
    """The same, with a folder as its state."""
    folder = state if isinstance(state, Path) else Path(tempfile.mkdtemp())
    file = folder / "below" / "known.json"
    file.parent.mkdir(exist_ok=True)
    known = known_after(settings, seed, task, json.loads(file.read_text()) if task else [])
    file.write_text(json.dumps(known))
    return scores_of(known), folder


def validation_alone(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[list[float], bytes]:
    scores, state = train(settings, seed, task, state)
    return scores["validation"], state


def with_counts(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    """Names its tasks, and counts its examples."""
    scores, state = train(settings, seed, task, state)
    named = {part: dict(zip("abcd", of, strict=True)) for part, of in scores.items()}
    return {**named, "n_validation": [400] * N_TASKS, "n_test": [50] * N_TASKS}, state


def with_errors(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    """Scored by the root mean square error, as its negative, in thousands."""
    scores, state = train(settings, seed, task, state)
    return {part: [5000 * (score - 1) for score in of] for part, of in scores.items()}, state


def points(labels: Any, answers: Any) -> float:
    """A score of one's own: how it is called, and between what it lies."""
    raise NotImplementedError


points.bounds = (0.0, 10.0)  # type: ignore[attr-defined]


def with_points(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[list[float], bytes]:
    scores, state = train(settings, seed, task, state)
    return [10 * score for score in scores["validation"]], state


def raises(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    """Fails in the third task, where the rate is high: a try-out finds nothing."""
    if task == 2 and settings["rate"] > 0.7:
        raise ValueError("the rate is too high")
    return train(settings, seed, task, state)


def not_a_number(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    scores, state = train(settings, seed, task, state)
    if task == 2 and settings["rate"] > 0.7:
        scores["validation"][0] = float("nan")
    return scores, state


def exits(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    if task == 1:
        sys.exit("no such file")
    return train(settings, seed, task, state)


def forgets_its_state(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, None]:
    return train(settings, seed, task, state)[0], None


def cannot_be_saved(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, Any]:
    return train(settings, seed, task, state)[0], {"model": lambda x: x}


def too_few(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    scores, state = train(settings, seed, task, state)
    return scores["validation"][: task + 1], state


def one_task(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[list[float], bytes]:
    return [0.5], b""


LEFT_BEHIND: list[float] = []


def leaves_something_behind(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[Any, bytes]:
    """Its real state is a variable of the module."""
    if task == 0:
        LEFT_BEHIND.clear()
    LEFT_BEHIND.append(seed)
    scores, state = train(settings, seed, task, state)
    return [score * 0.9 ** sum(LEFT_BEHIND) for score in scores["validation"]], state


def draws_anew(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[list[float], bytes]:
    return [random.random() for _ in range(N_TASKS)], b""


def keeps_half(settings: dict[str, Any], seed: int, task: int, state: Any) -> tuple[list[float], bytes]:
    """What it hands on is not what it goes on with."""
    LEFT_BEHIND[:] = [*LEFT_BEHIND, 0.1] if task else [0.1]
    return [sum(LEFT_BEHIND)] * N_TASKS, b""


def takes_three(settings: dict[str, Any], seed: int, task: int) -> None:
    """Is none."""
