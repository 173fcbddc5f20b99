"""Scores as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from cfsweep.errors import few
from cfsweep.visible import visible

LEAST = 1e-9  # what is less is rounding: the mean of equal numbers may differ from them in the last bits


def score_text(value: float, digits: int = 4, sign: str = "") -> str:
    """A score with so many `digits` behind the point; with as many significant ones where it is large, or so small that
    there would be nothing but zeros. `sign`: "+" is written, too.

    >>> score_text(0.98765), score_text(0.98765, 3, "+"), score_text(1e-12)
    ('0.9877', '+0.988', '0.0000')
    >>> score_text(-27449.879), score_text(1.234e-5)
    ('-27450', '1.234e-05')
    """
    value = 0.0 if abs(value) < LEAST else value
    if value and not 0.5 * 10**-digits <= abs(value) < 10:
        rounded = float(f"{value:.{digits}g}")
        return f"{rounded:{sign}.0f}" if 10**digits <= abs(rounded) < 1e7 else f"{rounded:{sign}.{digits}g}"
    return f"{value:{sign}.{digits}f}"


def not_above(own: float | None, constant: float | None) -> bool:
    """Whether a score is no higher than that of the constant answer; False where one is not known.

    >>> not_above(0.92, 0.92), not_above(0.921, 0.92), not_above(0.5, None)
    (True, False, False)
    """
    return own is not None and constant is not None and own <= constant + LEAST


def held_against(constant: Sequence[float | None], scenario: str) -> list[float | None]:
    """What each task's score is held against, given the constant answer's scores on the tasks: these; in class-il their
    mean over the tasks that have one. There one class is answered to all tasks, so that of one task it has a good part
    right, and nothing of the others: what it has of a task by itself is no measure of having learned that task.

    >>> held_against([0.5, 0.0, None], "class-il"), held_against([0.5, 0.0, None], "domain-il")
    ([0.25, 0.25, None], [0.5, 0.0, None])
    """
    known = [None if score is None or math.isnan(score) else float(score) for score in constant]
    scores = [score for score in known if score is not None]
    if scenario != "class-il" or not scores:
        return known
    return [None if score is None else sum(scores) / len(scores) for score in known]


def note_on_tasks(
    own: Sequence[float | None], constant: Sequence[float | None], tasks: Sequence[str], who: str = "it"
) -> str | None:
    """Names the `tasks` that a model, or `who` it is, answers no better at the end than the constant answer does, given
    the score on each and what it is held against (`held_against`); an average hides them. None where there is none; a
    task without a score, None or NaN, does not count.

    >>> note_on_tasks([0.9, 0.4], [0.5, 0.5], ["May", "June"])
    'At the end it is no better than the constant answer (majority) on 1 of 2 tasks: `June` (0.4000 against 0.5000).'
    """
    pairs = [
        (name, a, b)
        for name, a, b in zip(tasks, own, constant, strict=True)
        if a is not None and b is not None and not (math.isnan(a) or math.isnan(b))
    ]
    behind = [f"{code(name)} ({score_text(a)} against {score_text(b)})" for name, a, b in pairs if not_above(a, b)]
    if not behind:
        return None
    n = f"{len(behind)} of {len(pairs)} task{'s' * (len(pairs) != 1)}"
    return f"At the end {who} is no better than the constant answer (majority) on {n}: {few(behind)}."


def for_markdown(text: object) -> str:
    """`text` as one line of Markdown, also in a cell of a table: nothing in it is markup.

    >>> for_markdown("a|b_<i>")
    'a\\\\|b\\\\_\\\\<i\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", _line(text))


def code(text: object) -> str:
    """`text` as code in Markdown, also in a cell of a table; as plain text where it holds what ends either.

    >>> code("lr"), code("a`|b")
    ('`lr`', 'a\\\\`\\\\|b')
    """
    line = _line(text)
    return f"`{line}`" if line and not {*"`|"} & {*line} else for_markdown(line)


def _line(text: object) -> str:
    return visible(" ".join(str(text).split()))
