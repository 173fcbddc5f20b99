"""From a space file to a checked study, and from an Optuna trial to the values of its hyperparameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cfsweep.config import Choices, Range, Space, StudyConfig
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients import hypers_of, registry

Model = TypeVar("Model", bound=BaseModel)


ZERO_SHARE = 0.1  # of a range with `zero: true` that stands for 0


class Suggests(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = ...) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = ...) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-3` is a number as it is everywhere else."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    >>> parse_yaml("1e-3"), parse_yaml("[64, 64]"), parse_yaml("sgd")
    (0.001, [64, 64], 'sgd')
    """
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, not YAML, or no mapping.
    """
    try:
        content = parse_yaml(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed, but got {type(content).__name__}.")
    return content


def parse(model: type[Model], content: Mapping[str, Any], where: str) -> Model:
    """`content` as `model`.

    Raises:
        InputError: one line for the first rule that is broken; an unknown key names the known ones.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _as_one_line(model, error, where) from error


def _as_one_line(model: type[BaseModel], error: ValidationError, where: str) -> InputError:
    # A wrong value of a union reports once per member; the deepest report is the one about what was meant.
    first = max(error.errors(), key=lambda e: (e["type"] in ("value_error", "extra_forbidden"), len(e["loc"])))
    path = [str(part) for part in first["loc"] if part not in ("Range", "Choices")]
    if first["type"] == "extra_forbidden":
        return unknown(where, "key", ".".join(path), [".".join([*path[:-1], k]) for k in _keys_at(model, path[:-1])])
    message = str(first["msg"]).removeprefix("Value error, ")
    name = f"`{path[-1]}`" if path else "the study"
    if "must hold" in message:
        return InputError(f"{where}: " + message.replace("must hold", f"must hold for {name}", 1))
    return InputError(f"{where}: {message} for `{'.'.join(path)}`, but got {first['input']!r}.")


def _keys_at(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys known below `path`; inside of `search`, those of ranges and choices."""
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return sorted({*Range.model_fields, *Choices.model_fields})
        model = inner
    return list(model.model_fields)


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
        default = hypers[name].default
        if isinstance(searched, Choices):
            params[name] = default if default in searched.choices else searched.choices[0]
        elif searched.zero and default == 0:
            params[name] = lowest(searched)
        else:
            inside = min(max(float(default), searched.low), searched.high)
            params[name] = int(inside) if hypers[name].kind == "int" and not searched.zero else inside
    return params


def reference_values(space: Space, hypers: Mapping[str, Hyper], base: Mapping[str, Hyper]) -> dict[str, Value]:
    """The base hyperparameters of the references `naive` and `joint`: fixed ones as fixed, searched ones at default."""
    params = default_params(space, hypers)
    values = {name: space.fixed.get(name, params.get(name, hyper.default)) for name, hyper in base.items()}
    # A default of 0 on a range with `zero: true` is drawn from below the range.
    legal = {name: value if isinstance(value, str) else max(value, 0) for name, value in values.items()}
    return {name: base[name].check(value, "space") for name, value in legal.items()}
