"""A space: checked, and turned into the values of an Optuna trial's hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cfsweep.config import Choices, Range, Space, StudyConfig
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper, Value
from cfsweep.sweep.parsing import parse, read_yaml
from cfsweep.training.ingredients import hypers_of, registry

ZERO_SHARE = 0.1  # of a range with `zero: true` that stands for 0


class Suggests(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


def load_space(path: Path) -> Space:
    """The space in a YAML file, checked as far as it can be without a stream.

    Raises:
        InputError: anything is wrong with it.
    """
    space = parse(Space, read_yaml(path), str(path))
    check_space(space, str(path))
    return space


def check_space(space: Space, where: str) -> dict[str, Hyper]:
    """The hyperparameters of the space's trials, by name.

    Raises:
        InputError: an unknown ingredient or hyperparameter, one that the ingredients lack, one both fixed and
            searched, or a value outside its legal range.
    """
    hypers = hypers_of(space.ingredients, where)
    for name in (*space.fixed, *space.search):
        if name not in hypers:
            raise _stranger(name, hypers, where)
    for name, value in space.fixed.items():
        if name in space.search:
            raise InputError(f"{where}: `{name}` is both fixed and searched. Remove one of the two.")
        hypers[name].check(value, where)
    for name, searched in space.search.items():
        hyper = hypers[name]
        if isinstance(searched, Choices):
            values: tuple[Value, ...] = searched.choices
        elif hyper.kind == "choice":
            raise InputError(f"{where}: `{name}` is {hyper.rule}, but got a range. Write `{name}: {{choices: [...]}}`.")
        else:
            values = (searched.low, searched.high, *((0,) if searched.zero else ()))
        for value in values:
            hyper.check(value, where)
    return hypers


def _stranger(name: str, hypers: Mapping[str, Hyper], where: str) -> InputError:
    for ingredient, kind in registry.items():
        if name in {hyper.name for hyper in kind.hypers}:
            return InputError(
                f"{where}: `{name}` belongs to the ingredient `{ingredient}`, which the space lacks. "
                f"Add `{ingredient}` to `ingredients`, or remove `{name}`."
            )
    return unknown(where, "hyperparameter", name, hypers)


def check_study(config: StudyConfig, n_tasks: int, where: str) -> dict[str, Hyper]:
    """The study's hyperparameters, after the checks that need the stream and the scenario.

    Raises:
        InputError: an ingredient does not know the scenario, or the objective needs more tasks.
    """
    hypers = check_space(config.space, where)
    for name in config.space.ingredients:
        scenarios = registry[name].scenarios
        if config.stream.scenario not in scenarios:
            raise InputError(
                f"{where}: `{name}` works in {', '.join(scenarios)}, but got scenario={config.stream.scenario}. "
                f"Remove `{name}` from the ingredients, or change `--scenario`."
            )
    if n_tasks < 2:
        raise InputError(
            f"stream `{config.stream.name}`: the objective `{config.objective.name}` mixes old and new tasks and "
            f"needs at least 2, but got n_tasks={n_tasks}."
        )
    return hypers


def layers_named(space: Space, hypers: Mapping[str, Hyper]) -> list[dict[str, Value]]:
    """Each value that a trial of the space can have of a hyperparameter that names layers, by its name.

    >>> hypers = {"seen": Hyper("seen", "choice", "", "which layers", layers=True)}
    >>> layers_named(Space(search={"seen": Choices(choices=("body.1", "head"))}), hypers)
    [{'seen': 'body.1'}, {'seen': 'head'}]
    """
    named: list[dict[str, Value]] = []
    for name, hyper in hypers.items():
        if hyper.layers:
            searched = space.search.get(name)
            fixed = (space.fixed.get(name, hyper.default),)
            named += [{name: value} for value in (searched.choices if isinstance(searched, Choices) else fixed)]
    return named


def suggest(space: Space, hypers: Mapping[str, Hyper], trial: Suggests) -> dict[str, Value]:
    """A value for each hyperparameter: searched, fixed or default."""
    values: dict[str, Value] = {}
    value: object
    for name, hyper in hypers.items():
        searched = space.search.get(name)
        if searched is None:
            value = space.fixed.get(name, hyper.default)
        elif isinstance(searched, Choices):
            value = trial.suggest_categorical(name, list(searched.choices))
        elif hyper.kind == "int" and not searched.zero:
            value = trial.suggest_int(name, int(searched.low), int(searched.high), log=searched.log)
        else:
            drawn = trial.suggest_float(name, lowest(searched), searched.high, log=searched.log)
            kept = 0.0 if searched.zero and drawn < searched.low else drawn
            value = round(kept) if hyper.kind == "int" else kept
        values[name] = hyper.check(value, "space")
    return values


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
        return float(searched.low * (searched.low / searched.high) ** stretch)
    return searched.low - stretch * (searched.high - searched.low)


def default_params(space: Space, hypers: Mapping[str, Hyper]) -> dict[str, Any]:
    """Optuna parameters of the library's default settings, moved into the range where they lie outside it."""
    params: dict[str, Any] = {}
    for name, searched in space.search.items():
        value = _default_within(searched, hypers[name])
        params[name] = lowest(searched) if isinstance(searched, Range) and searched.zero and value == 0 else value
    return params


def _default_within(searched: Range | Choices, hyper: Hyper) -> Value:
    if isinstance(searched, Choices):
        return hyper.default if hyper.default in searched.choices else searched.choices[0]
    if searched.zero and hyper.default == 0:
        return 0
    inside = min(max(float(hyper.default), searched.low), searched.high)
    return int(inside) if hyper.kind == "int" else inside


def reference_values(space: Space, base: Mapping[str, Hyper]) -> dict[str, Value]:
    """The base hyperparameters of the references `naive` and `joint`: fixed ones as fixed, searched ones at default."""
    values: dict[str, Value] = {}
    for name, hyper in base.items():
        searched = space.search.get(name)
        value = space.fixed.get(name, hyper.default) if searched is None else _default_within(searched, hyper)
        values[name] = hyper.check(value, "space")
    return values
