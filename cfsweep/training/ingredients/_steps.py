"""What remedies need of the steps by which a task is trained, and so cannot have of one that was learned elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.training.ingredients._base import Ingredient
from cfsweep.training.ingredients._pieces import BufferedOnline, Cut, StepObserver

OF_STEPS: Mapping[type[Ingredient], str] = {
    BufferedOnline: "the examples that it has kept",
    StepObserver: "what it has seen of the steps",
    Cut: "which weights belong to which task",
}
"""By piece, what comes of the steps of a task, and of them alone."""


def refuse_without_steps(kinds: Iterable[type[Ingredient]], runs: Sequence[Mapping[str, Value]], where: str) -> None:
    """Makes sure that remedies of these `kinds` can do with a task that is evaluated and not trained: what they keep of
    it, they make of its training examples and the weights. `runs` are all values of each run; `where` opens the line.

    Raises:
        InputError: one that is on needs its steps.
    """
    for kind in kinds:
        what = next((what for piece, what in OF_STEPS.items() if issubclass(kind, piece)), None)
        if what is not None and not all(kind.is_off(values) for values in runs):
            off = next((f"{h.name}={h.off:g}" for h in kind.hypers if h.off is not None and not h.static), None)
            raise InputError(
                f"{where}: a task that the first weights know is not trained, but of its training `{kind.name}` needs "
                f"{what}. Leave it out{f', or switch it off, `{off}`' if off else ''}."
            )
