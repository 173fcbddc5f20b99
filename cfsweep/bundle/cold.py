"""A start from the weights alone, where nothing of what the remedies have kept is at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.ingredients import (
    OF_STEPS,
    Buffered,
    ClosedForm,
    Consolidation,
    Generator,
    Ingredient,
    StopRule,
    TaskWeights,
)
from cfsweep.training.pack import Pack
from cfsweep.training.task_end import consolidated_state

NEEDS: Mapping[type[Ingredient], str] = {
    Buffered: "the examples that it has kept",
    ClosedForm: "the statistics of old examples",
    Generator: "the generator that it has trained",
    **OF_STEPS,
    TaskWeights: "the weights of each task's own",
}


def needed(kind: type[Ingredient]) -> str | None:
    """What a remedy needs of the tasks before beside the weights that they have come to; None if that is nothing.

    >>> from cfsweep.training.ingredients import registry
    >>> needed(registry["l2-sp"]), needed(registry["si"])
    (None, 'what it has seen of the steps')
    """
    for piece, what in NEEDS.items():
        if issubclass(kind, piece):
            return what
    if issubclass(kind, Consolidation) and kind.n_examples is not Consolidation.n_examples:
        return "what it has measured on the examples of each task"
    if issubclass(kind, StopRule) and kind.looks_at_old:
        return "the steering examples of all tasks so far"
    return None


def refuse_cold(kinds: Iterable[type[Ingredient]], settings: Mapping[str, Value], why: str, remedy: str) -> None:
    """`why` there are weights alone, and the `remedy` for it.

    Raises:
        InputError: a remedy that is on needs more.
    """
    for kind in kinds:
        what = needed(kind)
        if what is not None and not kind.is_off(settings):
            off = [f"--set {h.name}={h.off:g}" for h in kind.hypers if h.off is not None and not h.static]
            raise InputError(
                f"{why}, so the model goes on from its weights alone, but `{kind.name}` needs {what}. "
                f"{remedy}{f', or switch it off, `{off[0]}`' if off else ''}."
            )


def begin_cold(pack: Pack) -> None:
    """Has the ingredients keep what they can of the task that has ended before the pack's next one: weights."""
    none = np.empty(0, np.int64)
    for ingredient in pack.context.timeline.consolidations:
        if needed(type(ingredient)) is None:
            state = consolidated_state(pack.context, pack.stack, ingredient, pack.next_task - 1, none)
            pack.stack.set_state(ingredient, state)
