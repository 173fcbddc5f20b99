"""A space in Optuna's terms: one parameter for each hyperparameter that is searched."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from cfsweep.config import Choices, Range, Space
from cfsweep.hypers import Hyper, Value
from cfsweep.sweeping.space import default_within

LEAST_FLOAT = sys.float_info.min
ZERO_SHARE = 0.1  # of a range with `zero: true` that stands for 0


class Suggests(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


def suggest(space: Space, hypers: Mapping[str, Hyper], trial: Suggests) -> dict[str, Value]:
    """A value for each hyperparameter: searched, fixed or default."""
    values: dict[str, Value] = {}
    value: object
    for name, hyper in hypers.items():
        searched = space.search.get(name)
        if searched is None:
            value = space.fixed.get(name, hyper.default)
        else:
            value = value_of(searched, hyper.kind, drawn(name, searched, hyper.kind, trial))
        values[name] = hyper.check(value, "space")
    return values


def drawn(name: str, searched: Range | Choices, kind: str, trial: Suggests) -> Value:
    """The parameter that the sampler gives for one that is searched, of the `kind` of its hyperparameter."""
    found: Value
    if isinstance(searched, Choices):
        found = trial.suggest_categorical(name, list(searched.choices))
    elif kind == "int" and not searched.zero:
        found = trial.suggest_int(name, int(searched.low), int(searched.high), log=searched.log)
    else:
        found = trial.suggest_float(name, lowest(searched), searched.high, log=searched.log)
    return found


def value_of(searched: Range | Choices, kind: str, param: Value) -> Value:
    """The value of the hyperparameter whose parameter is `param`.

    >>> ratio = Range(low=0.1, high=0.5, zero=True)
    >>> value_of(ratio, "float", 0.08), value_of(ratio, "float", 0.2), value_of(ratio, "int", 0.08)
    (0.0, 0.2, 0)
    """
    if isinstance(searched, Choices) or isinstance(param, str):
        return param
    kept = 0.0 if searched.zero and param < searched.low else param
    return round(kept) if kind == "int" else kept


def param_of(searched: Range | Choices, value: Value) -> Value:
    """A parameter whose value this is.

    >>> round(float(param_of(Range(low=0.1, high=1.0, zero=True), 0)), 6), param_of(Range(low=0.1, high=1.0), 0.5)
    (0.0, 0.5)
    """
    return lowest(searched) if isinstance(searched, Range) and searched.zero and value == 0 else value


def lowest(searched: Range) -> float:
    """Where sampling begins: at `low`, or below it if 0 is wanted too.

    `zero` widens the range by `ZERO_SHARE` of its length (on its scale) at the low end, and all that falls there is
    0. So 0 lies beside the small values, as it should for a sampler, and one number remains one parameter.

    >>> round(lowest(Range(low=0.1, high=1e8, log=True, zero=True)), 6)
    0.01
    >>> round(lowest(Range(low=0.1, high=1.0, zero=True)), 6)
    0.0
    """
    if not searched.zero:
        return searched.low
    stretch = ZERO_SHARE / (1 - ZERO_SHARE)
    if searched.log:
        below = float(searched.low * (searched.low / searched.high) ** stretch)
        return max(below, LEAST_FLOAT)  # the two may be farther apart than numbers go
    return searched.low - stretch * (searched.high - searched.low)


def default_params(space: Space, hypers: Mapping[str, Hyper]) -> dict[str, Any]:
    """Optuna parameters of the library's default settings, or of what is nearest to them where the space lacks them."""
    return {name: param_of(searched, default_within(searched, hypers[name])) for name, searched in space.search.items()}
