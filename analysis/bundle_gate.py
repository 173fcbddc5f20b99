"""The gate between two models: whether a candidate has kept what the champion can do, task by task."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis import paired_bootstrap
from analysis.formatting import shortened
from analysis.paired_shares import difference, mcnemar
from analysis.uncertainty import LEVEL, Estimate
from cfsweep.errors import InputError, NoAnswerError, few
from cfsweep.files import write_atomically
from cfsweep.metrics.answers import PairedAnswers, PairedScores
from cfsweep.texts import note_on_tasks, score_text

HEADS = ("task", "examples", "champion", "candidate", "difference", "95 % interval", "McNemar p", "verdict")
NOT_LEARNED = "the champion has not learned this task, and cannot answer it"
NO_VALUE = "the score has no value on these examples"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one task: the scores and their difference, candidate less champion, over the same
    `n_examples`. `alone`: how many the champion alone answers rightly, and the candidate alone. `champion`, `alone`,
    `difference`, `p` (McNemar's) are None where the champion cannot answer, the scores and their difference where they
    have no value, and `alone` and `p` where the score is another than accuracy. `constant` is the score of the constant
    answer, None where it is not known.

    `fell`: the candidate's score on these examples lies more than `max_drop` below the champion's. It is the
    estimate that decides: whoever puts a model into service answers for what was seen, and a rule by the interval
    would pass the larger drops the fewer examples there are. `is_clear`: all of the interval lies on that side of
    `-max_drop`, so that other examples of the task would hardly say otherwise. A task that is not `is_earlier` never
    falls.
    """

    task: int
    name: str
    n_examples: int
    champion: float | None
    candidate: float | None
    alone: tuple[int, int] | None
    difference: Estimate | None
    p: float | None
    is_earlier: bool
    fell: bool
    is_clear: bool
    constant: float | None = None

    @property
    def text(self) -> str:
        """`held` or `fell`, and `clearly` where the interval says so, too; `new` of what the champion has not
        learned; `no value` where nobody can say."""
        if self.candidate is None:
            return "no value"
        word = "new" if not self.is_earlier else "fell" if self.fell else "held"
        return f"{word}, clearly" if self.is_clear else word


@dataclass(frozen=True)
class Judgement:
    """What the gate says of two models, by a `score` that may fall by `max_drop`: a verdict for each of the candidate's
    tasks, in their order, but those `left_out`, of which there are no examples."""

    score: str
    max_drop: float
    tasks: tuple[Verdict, ...]
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Those of the table, under `HEADS`."""
        return [cells(one) for one in self.tasks]

    @property
    def notes(self) -> list[str]:
        """What is to be known of the table."""
        said = [] if self.score == "accuracy" else [f"The score is {self.score}, the higher the better."]
        if self.left_out:
            said.append(
                f"new: {few(f'`{name}`' for name in self.left_out)} is not in these data, which decides nothing; "
                "--stream or --data names where all tasks are."
            )
        return [*said, *notes(self.tasks, self.max_drop)]


def judged(
    score: str,
    bounds: tuple[float, float],
    answers: Sequence[PairedAnswers | PairedScores],
    left_out: Sequence[str],
    max_drop: float | None,
) -> Judgement:
    """What the gate says of two models, given their `answers` to the tasks, or how they score, within `bounds`, and the
    names of those that are `left_out`.

    Raises:
        InputError: `max_drop` is missing or beyond what the score can fall by, or a task has no test examples.
    """
    allowed = require_max_drop(max_drop, bounds[1] - bounds[0])
    verdicts = tuple(verdict(of_task, k, allowed) for k, of_task in enumerate(answers))
    return Judgement(score, allowed, verdicts, tuple(left_out))


def verdict(answers: PairedAnswers | PairedScores, task: int, max_drop: float) -> Verdict:
    """That on the task of number `task`, of which the answers are.

    Raises:
        InputError: the task has no test examples.
    """
    n = answers.n_examples if isinstance(answers, PairedScores) else len(answers.candidate)
    if not n:
        raise InputError(f"gate: task `{answers.name}` has no test examples. Give it some.")
    if isinstance(answers, PairedScores):
        found = _of_scores(answers, task, max_drop)
    else:
        found = _of_answers(answers, task, max_drop)
    return replace(found, constant=answers.constant)


def _of_answers(answers: PairedAnswers, task: int, max_drop: float) -> Verdict:
    n, counts = len(answers.candidate), answers.counts
    candidate = int(answers.candidate.sum()) / n
    if counts is None:
        return Verdict(task, answers.name, n, None, candidate, None, None, None, answers.is_earlier, False, False)
    found = difference(*counts)
    fell, is_clear = _judged(found, answers.is_earlier, max_drop)
    champion = (counts[0] + counts[1]) / n
    alone = counts[1], counts[2]
    p = mcnemar(*alone)
    return Verdict(task, answers.name, n, champion, candidate, alone, found, p, answers.is_earlier, fell, is_clear)


def _judged(found: Estimate, is_earlier: bool, max_drop: float) -> tuple[bool, bool]:
    """Whether the task fell, and whether all of the interval says the same."""
    fell = is_earlier and -found.value > max_drop
    low, high = found.interval
    return fell, is_earlier and (high < -max_drop if fell else low >= -max_drop)


def _of_scores(scores: PairedScores, task: int, max_drop: float) -> Verdict:
    n, is_earlier = scores.n_examples, scores.is_earlier
    champion, candidate = (None if math.isnan(value) else value for value in scores.of(np.arange(n)))
    found = paired_bootstrap.difference(scores.of, n)
    fell, is_clear = (False, False) if found is None else _judged(found, is_earlier, max_drop)
    return Verdict(task, scores.name, n, champion, candidate, None, found, None, is_earlier, fell, is_clear)


def require_max_drop(max_drop: float | None, width: float = math.inf) -> float:
    """`max_drop`, the most by which an earlier task's score may fall, from 0 up and less than its bounds are apart.

    Raises:
        InputError: it is missing, below 0 or too large.
    """
    if max_drop is None:
        raise InputError(
            "gate: how far an earlier task may fall must be said. Give --max-drop, such as 0.02 for 2 points."
        )
    if isinstance(max_drop, bool) or not isinstance(max_drop, int | float):
        raise InputError(f"gate: `max_drop` must be a number, such as 0.02, but got {max_drop!r}. Change it.")
    if not 0 <= max_drop < width:
        rule = "0 <= max-drop" if math.isinf(width) else f"0 <= max-drop < {width:g}"
        raise InputError(f"gate: `{rule}` must hold, but got {max_drop:g}. Change it.")
    return max_drop


def cells(found: Verdict) -> tuple[str, ...]:
    """The row under `HEADS`."""
    name = f"{found.task} {shortened(found.name, 12)}"
    head = (name, str(found.n_examples))
    scores = ("–" if score is None else score_text(score) for score in (found.champion, found.candidate))
    if found.difference is None:
        return (*head, *scores, "–", "–", "–", found.text)
    low, high = (score_text(end, sign="+") for end in found.difference.interval)
    p = "–" if found.p is None else f"{found.p:.2g}"
    return (*head, *scores, score_text(found.difference.value, sign="+"), f"{low} to {high}", p, found.text)


def require_none_fell(verdicts: Sequence[Verdict], max_drop: float) -> str:
    """The line that says that the candidate passes.

    Raises:
        NoAnswerError: an earlier task fell, whatever the others gained; the message names all that did.
    """
    earlier = [one for one in verdicts if one.is_earlier]
    if earlier and all(one.candidate is None for one in earlier):
        raise InputError(f"gate: {NO_VALUE} of any earlier task, so nobody can say. Give another --score.")
    fallen = [
        f"{one.task} `{one.name}` by {score_text(-one.difference.value)}"
        for one in earlier
        if one.fell and one.difference
    ]
    if fallen:
        raise NoAnswerError(
            f"gate: {len(fallen)} of {len(earlier)} earlier tasks fell by more than {max_drop:g}: task {few(fallen)}."
        )
    return f"The candidate passes: none of {len(earlier)} earlier tasks fell by more than {max_drop:g}."


def write_json(
    path: Path, champion: str, candidate: str, verdicts: Sequence[Verdict], max_drop: float, score: str = "accuracy"
) -> None:
    """Writes what was found for a program to read, whole or not at all: `passes`, `max_drop`, `level` of the intervals,
    the `score`, and for each task its values, their difference with its interval, what the constant answer scores,
    McNemar's p and the verdict. What the champion cannot answer is null, with the reason in `missing`."""
    content = {
        "passes": not any(one.fell for one in verdicts),
        "champion": champion,
        "candidate": candidate,
        "score": score,
        "max_drop": max_drop,
        "level": LEVEL,
        "tasks": [_described(one) for one in verdicts],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def notes(verdicts: Sequence[Verdict], max_drop: float) -> list[str]:
    """What is to be known of the table."""
    found = [
        f"fell: by more than {max_drop:g} on these examples; clearly: the whole interval lies on that side.",
        "The interval is about other examples of the task, not about other seeds of a training.",
    ]
    if any(not one.is_earlier for one in verdicts):
        found.append("new: the champion has not learned the task, which decides nothing.")
    if any(one.candidate is None for one in verdicts):
        found.append(f"no value: {NO_VALUE}, which decides nothing.")
    own, constant, names = zip(*((one.candidate, one.constant, one.name) for one in verdicts), strict=True)
    behind = note_on_tasks(own, constant, names, "the candidate")
    return [*found, *([behind] if behind else [])]


def _described(one: Verdict) -> dict[str, Any]:
    of = one.difference
    return {
        "task": one.task,
        "name": one.name,
        "is_earlier": one.is_earlier,
        "n_examples": one.n_examples,
        "champion": one.champion,
        "candidate": one.candidate,
        "champion_alone_right": None if one.alone is None else one.alone[0],
        "candidate_alone_right": None if one.alone is None else one.alone[1],
        "difference": None if of is None else of.value,
        "interval": None if of is None else list(of.interval),
        "constant": one.constant,
        "mcnemar_p": one.p,
        "missing": None if of is not None else NO_VALUE if one.candidate is None else NOT_LEARNED,
        "verdict": one.text.removesuffix(", clearly"),
        "is_clear": one.is_clear if one.is_earlier else None,
    }
