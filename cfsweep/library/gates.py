"""Gates: whether a model may take the place of another, and whether a study's chosen trial is good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cfsweep.errors import NoAnswerError
from cfsweep.library.repeatable import repeatable
from cfsweep.library.shown import html_table, text_table

if TYPE_CHECKING:
    from analysis.bundle_gate import Judgement, Verdict


@dataclass(frozen=True)
class Gate:
    """What a gate says; it is true where it `passes`, and a notebook shows it.

    `says` are the lines that the command prints: what was checked, or what fails. Of two models `of_models` has the
    table, task by task.
    """

    passes: bool
    says: tuple[str, ...]
    of_models: Judgement | None = None

    @property
    def tasks(self) -> tuple[Verdict, ...]:
        """Of two models, what is said of each task; of a study's trial nothing."""
        return () if self.of_models is None else self.of_models.tasks

    def __bool__(self) -> bool:
        return self.passes

    def __repr__(self) -> str:
        if self.of_models is None:
            return "\n".join(self.says)
        return "\n".join([text_table(*self._table()), *self.of_models.notes, *self.says])

    def _repr_html_(self) -> str:
        notes = self.says if self.of_models is None else (*self.of_models.notes, *self.says)
        table = "" if self.of_models is None else html_table(*self._table())
        return table + "".join(f"<p>{escape(line)}</p>" for line in notes)

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        from analysis.bundle_gate import HEADS

        assert self.of_models is not None
        return HEADS, self.of_models.rows


def gate(
    champion: str | Path,
    candidate: str | Path,
    max_drop: float,
    *,
    data: str | Path | None = None,
    stream: str | Path | None = None,
    score: str | None = None,
) -> Gate:
    """Whether the bundle `candidate` may take the place of the bundle `champion`: on no task that the champion has
    learned its score on the test examples may be lower by more than `max_drop`, whatever the others gained.

    `stream` names the candidate's stream where it is not to be found as its bundle says, `data` the folder of the data
    sets, or the table of all tasks. `score` is that of the candidate unless another one is named. (A study's chosen
    trial is judged by `Sweep.gate`.)

    Raises:
        InputError: one is no bundle, they cannot be compared, the test examples are not those that both were exported
            with, there is no such score, `max_drop` is beyond its bounds, or nobody can say.
    """
    repeatable()
    from analysis.bundle_gate import judged, require_max_drop, require_none_fell
    from cfsweep.bundle.paired import paired_answers

    require_max_drop(max_drop)
    data, stream = (None if place is None else str(place) for place in (data, stream))
    found = judged(*paired_answers(champion, candidate, data, stream, score), max_drop)
    passes, says = _answer(lambda: [require_none_fell(found.tasks, max_drop)])
    return Gate(passes, says, found)


def gate_of_study(
    folder: str | Path,
    min_average_score: float | None,
    min_stability: float | None,
    min_plasticity: float | None,
    beats: str | None,
    margin: float,
) -> Gate:
    """What `Sweep.gate` returns."""
    from analysis.study_gate import gate as checked

    minima = min_average_score, min_stability, min_plasticity
    return Gate(*_answer(lambda: checked(folder, *minima, beats, margin)))


def _answer(check: Callable[[], list[str]]) -> tuple[bool, tuple[str, ...]]:
    """Whether the answer is yes, and what is said."""
    try:
        return True, tuple(check())
    except NoAnswerError as error:
        return False, (str(error),)
