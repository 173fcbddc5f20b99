"""The gate between two models: whether a candidate has kept what the champion can do, task by task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.formatting import shortened
from analysis.paired_shares import difference, mcnemar
from analysis.uncertainty import LEVEL, Estimate
from cfsweep.errors import InputError, NoAnswerError, few
from cfsweep.files import write_atomically
from cfsweep.metrics.answers import PairedAnswers

HEADS = ("task", "examples", "champion", "candidate", "difference", "95 % interval", "McNemar p", "verdict")
NOT_LEARNED = "the champion has not learned this task, and cannot answer it"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one task: the accuracies, in [0, 1], and their difference, candidate less champion, over
    the same `n_examples`. `alone`: how many the champion alone answers rightly, and the candidate alone. `champion`,
    `alone`, `difference`, `p` (McNemar's) are None where the champion cannot answer.

    `fell`: the candidate's accuracy on these examples lies more than `max_drop` below the champion's. It is the
    estimate that decides: whoever puts a model into service answers for what was seen, and a rule by the interval
    would pass the larger drops the fewer examples there are. `is_clear`: all of the interval lies on that side of
    `-max_drop`, so that other examples of the task would hardly say otherwise. A task that is not `is_earlier` never
    falls.
    """

    task: int
    name: str
    n_examples: int
    champion: float | None
    candidate: float
    alone: tuple[int, int] | None
    difference: Estimate | None
    p: float | None
    is_earlier: bool
    fell: bool
    is_clear: bool

    @property
    def text(self) -> str:
        """`held` or `fell`, and `clearly` where the interval says so, too; `new` of what the champion has not
        learned."""
        word = "new" if not self.is_earlier else "fell" if self.fell else "held"
        return f"{word}, clearly" if self.is_clear else word


def verdict(answers: PairedAnswers, task: int, max_drop: float) -> Verdict:
    """That on the task of number `task`, of which the answers are.

    Raises:
        InputError: the task has no test examples.
    """
    n, counts = len(answers.candidate), answers.counts
    if not n:
        raise InputError(f"gate: task `{answers.name}` has no test examples. Give it some.")
    candidate = int(answers.candidate.sum()) / n
    if counts is None:
        return Verdict(task, answers.name, n, None, candidate, None, None, None, answers.is_earlier, False, False)
    found = difference(*counts)
    fell = answers.is_earlier and -found.value > max_drop
    low, high = found.interval
    is_clear = answers.is_earlier and (high < -max_drop if fell else low >= -max_drop)
    champion = (counts[0] + counts[1]) / n
    alone = counts[1], counts[2]
    p = mcnemar(*alone)
    return Verdict(task, answers.name, n, champion, candidate, alone, found, p, answers.is_earlier, fell, is_clear)


def require_max_drop(max_drop: float | None) -> float:
    """`max_drop`, the most by which an earlier task's accuracy may fall, in [0, 1).

    Raises:
        InputError: it is missing or outside.
    """
    if max_drop is None:
        raise InputError(
            "gate: how far an earlier task may fall must be said. Give --max-drop, such as 0.02 for 2 points."
        )
    if not 0 <= max_drop < 1:
        raise InputError(f"gate: `0 <= max-drop < 1` must hold, but got {max_drop:g}. Change it.")
    return max_drop


def cells(found: Verdict) -> tuple[str, ...]:
    """The row under `HEADS`."""
    name = f"{found.task} {shortened(found.name, 12)}"
    head = (name, str(found.n_examples))
    if found.champion is None or found.difference is None or found.p is None:
        return (*head, "–", f"{found.candidate:.4f}", "–", "–", "–", found.text)
    low, high = found.difference.interval
    accuracies = (f"{found.champion:.4f}", f"{found.candidate:.4f}", f"{found.difference.value:+.4f}")
    return (*head, *accuracies, f"{low:+.4f} to {high:+.4f}", f"{found.p:.2g}", found.text)


def require_none_fell(verdicts: Sequence[Verdict], max_drop: float) -> str:
    """The line that says that the candidate passes.

    Raises:
        NoAnswerError: an earlier task fell, whatever the others gained; the message names all that did.
    """
    earlier = [one for one in verdicts if one.is_earlier]
    fallen = [
        f"{one.task} `{one.name}` by {-one.difference.value:.4f}" for one in earlier if one.fell and one.difference
    ]
    if fallen:
        raise NoAnswerError(
            f"gate: {len(fallen)} of {len(earlier)} earlier tasks fell by more than {max_drop:g}: task {few(fallen)}."
        )
    return f"The candidate passes: none of {len(earlier)} earlier tasks fell by more than {max_drop:g}."


def write_json(path: Path, champion: str, candidate: str, verdicts: Sequence[Verdict], max_drop: float) -> None:
    """Writes what was found for a program to read, whole or not at all: `passes`, `max_drop`, `level` of the intervals,
    and for each task the accuracies, their difference with its interval, McNemar's p and the verdict. What the champion
    cannot answer is null, with the reason in `missing`."""
    content = {
        "passes": not any(one.fell for one in verdicts),
        "champion": champion,
        "candidate": candidate,
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
    return found


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
        "mcnemar_p": one.p,
        "missing": NOT_LEARNED if of is None else None,
        "verdict": "new" if not one.is_earlier else "fell" if one.fell else "held",
        "is_clear": one.is_clear if one.is_earlier else None,
    }
