"""The hyperparameters of a trainer from outside: whatever its space names, of the kinds in which it is written."""

from __future__ import annotations

import math

from cfsweep.config import Choices, Range, Space
from cfsweep.errors import InputError, few
from cfsweep.hypers import Hyper, Kind, Value

DOC = "a setting of the trainer"


def free_hypers(space: Space, where: str) -> dict[str, Hyper]:
    """The hyperparameters that the space of a trainer from outside fixes and searches, by name.

    A range of whole numbers is `int`, any other `float`; choices and fixed values are `int`, `float` or, as words,
    `choice`. The default is the middle of a range, on its scale, and the first of the choices.

    Raises:
        InputError: one is both fixed and searched, choices are words and numbers, or the space has ingredients or a
            network, which only cfsweep's own training has.

    >>> hypers = free_hypers(Space(trainer="a:b", fixed={"mode": "full"}, search={"lr": Range(low=1, high=4)}), "x")
    >>> [(name, hyper.kind, hyper.default) for name, hyper in hypers.items()]
    [('mode', 'choice', 'full'), ('lr', 'float', 2.5)]
    """
    for key, usual in (("ingredients", ()), ("network", Space.model_fields["network"].default)):
        if getattr(space, key) != usual:
            raise InputError(
                f"{where}: `{key}` are of cfsweep's own training, but `trainer: {space.trainer}` has its own. Leave "
                "one of the two out."
            )
    for name in space.fixed:
        if name in space.search:
            raise InputError(f"{where}: `{name}` is both fixed and searched. Remove one of the two.")
    hypers = {name: _of_values(name, (value,), where) for name, value in space.fixed.items()}
    for name, searched in space.search.items():
        if isinstance(searched, Choices):
            hypers[name] = _of_values(name, searched.choices, where)
        else:
            hypers[name] = _of_range(name, searched)
    return hypers


def _of_values(name: str, values: tuple[Value, ...], where: str) -> Hyper:
    words = tuple(value for value in values if isinstance(value, str))
    if len(words) == len(values):
        return Hyper(name, "choice", values[0], DOC, choices=words)
    if words:
        raise InputError(
            f"{where}: choices are words or numbers, but `{name}` has both ({few(values)}). Write all as words, in "
            "quotes, or all as numbers."
        )
    kind: Kind = "int" if all(isinstance(value, int) for value in values) else "float"
    return Hyper(name, kind, values[0], DOC)


def _of_range(name: str, searched: Range) -> Hyper:
    low, high = searched.low, searched.high
    middle = math.sqrt(low) * math.sqrt(high) if searched.log else low + (high - low) / 2
    middle = min(max(float(f"{middle:.6g}"), low), high)
    return Hyper(name, "int", round(middle), DOC) if searched.whole else Hyper(name, "float", middle, DOC)
