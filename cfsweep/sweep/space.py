"""From a space file to a checked study, and from an Optuna trial to the values of its hyperparameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cfsweep.config import Choices, Range, Space, StudyConfig
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper, Value
from cfsweep.training.ingredients import hypers_of, registry

Model = TypeVar("Model", bound=BaseModel)


_MARKS: dict[str, type[BaseModel]] = {"Range": Range, "Choices": Choices}  # pydantic's, of what is searched
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


def parse_yaml(text: str, where: str = "YAML") -> Any:
    """The value of a YAML text.

    >>> parse_yaml("1e-3"), parse_yaml("[64, 64]"), parse_yaml("sgd")
    (0.001, [64, 64], 'sgd')

    Raises:
        InputError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(
            f"{where}: `{text}` is not valid YAML ({getattr(error, 'problem', error)}). Quote or close it."
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing, not YAML, or no mapping.
    """
    try:
        content = yaml.load(path.read_text(), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a mapping of keys to values is needed, but got {type(content).__name__}.")
    return content


def parse(model: type[Model], content: Mapping[str, Any], where: str | Callable[[str], str]) -> Model:
    """`content` as `model`; `where` names its origin, or gives the origin of a dotted key.

    Raises:
        InputError: one line for the first rule that is broken; an unknown key names the known ones.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise _as_one_line(model, content, error, where) from error


def _as_one_line(
    model: type[BaseModel], content: Mapping[str, Any], error: ValidationError, where: str | Callable[[str], str]
) -> InputError:
    errors = error.errors()
    first = errors[0]
    path = _place(content, first["loc"])
    name, got = ".".join(path), repr(first["input"])
    where = where if isinstance(where, str) else where(name)
    # A mistyped key is reported once as unknown and, if it is needed, once as missing: the former helps more.
    strange = next((e for e in errors if e["type"] == "extra_forbidden"), None)
    if strange is not None:
        *above, last = _place(content, strange["loc"])
        known = [".".join([*above, key]) for key in _keys_at(model, above, strange["loc"])]
        return unknown(where, "key", ".".join([*above, last]), known)
    if first["type"] == "missing":
        return InputError(f"{where}: `{name}` is missing, but got {got}. Add it.")
    if first["type"] == "value_error":
        message = str(first["msg"]).removeprefix("Value error, ")
        subject = f" must hold for `{path[-1]}`" if path else " must hold"
        return InputError(f"{where}: " + message.replace(" must hold", subject, 1))
    if not str(first["msg"]).startswith("Input should be "):
        return InputError(f"{where}: `{name}`: {first['msg']}, but got {got}.")
    # A wrong value of a union reports once per member.
    rules = [str(e["msg"]).removeprefix("Input should be ") for e in errors if _place(content, e["loc"]) == path]
    rule = " or ".join(dict.fromkeys(rules)).replace("dictionary", "mapping of keys to values")
    return InputError(f"{where}: `{name}` should be {rule}, but got {got}.")


def _place(content: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The keys of `loc` that lead into `content`, and a last one that is missing there; no marks of pydantic's."""
    path: list[str] = []
    for at, part in enumerate(loc):
        inside: Any = dict(enumerate(content)) if isinstance(content, list) else content
        known: Any = inside if isinstance(inside, Mapping) else {}
        if part in known:
            content = known[part]
        elif not isinstance(content, Mapping) or at < len(loc) - 1 or part in _MARKS:
            continue
        path.append(str(part))
    return path


def _keys_at(model: type[BaseModel], path: list[str], loc: tuple[int | str, ...]) -> list[str]:
    kind: Any = next((_MARKS[str(part)] for part in loc if part in _MARKS), model)
    for part in path if kind is model else ():
        kind = kind.model_fields[part].annotation
    return list(kind.model_fields)


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
