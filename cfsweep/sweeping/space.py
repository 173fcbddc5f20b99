"""A space, checked against the ingredients that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfsweep.config import Choices, Range, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import Hyper, Value
from cfsweep.sweeping.blind_tasks import require_values
from cfsweep.sweeping.free_settings import free_hypers
from cfsweep.training.ingredients import StopRule, hypers_of, ingredient_class, refuse_misfits, registry
from cfsweep.training.streams import Stream
from cfsweep.training.targets import target_of


def check_space(space: Space, where: str) -> dict[str, Hyper]:
    """The hyperparameters of the space's trials, by name.

    Raises:
        InputError: an unknown ingredient or hyperparameter, one that the ingredients lack, one both fixed and
            searched, or a value outside its legal range; or what `free_hypers` refuses.
    """
    if space.trainer is not None:
        return free_hypers(space, where)
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
            if searched.whole:
                raise InputError(
                    f"{where}: `whole` is for the settings of a trainer from outside; that of `{name}` is known. Leave "
                    "it out."
                )
            values = (searched.low, searched.high, *((0,) if searched.zero else ()))
        for value in values:
            hyper.check(value, where)
    return hypers


def with_steering(space: Space, stream: StreamConfig) -> StreamConfig:
    """The stream of a study, with as many steering as validation examples where the space has a stop rule and nothing
    else is said: what a rule chooses by may not score it. All trials are trained on what is left, with the rule on or
    off, and so are the references.

    >>> with_steering(Space(ingredients=("early-stopping",)), StreamConfig(validation_frac=0.2)).steering_frac
    0.2
    >>> with_steering(Space(), StreamConfig()).steering_frac is None
    True
    """
    if stream.steering_frac is not None or not any(
        issubclass(ingredient_class(n), StopRule) for n in space.ingredients
    ):
        return stream
    return stream.model_copy(update={"steering_frac": stream.validation_frac})


def _stranger(name: str, hypers: Mapping[str, Hyper], where: str) -> InputError:
    for ingredient, kind in registry.items():
        if name in {hyper.name for hyper in kind.hypers}:
            return InputError(
                f"{where}: `{name}` belongs to the ingredient `{ingredient}`, which the space lacks. "
                f"Add `{ingredient}` to `ingredients`, or remove `{name}`."
            )
    return unknown(where, "hyperparameter", name, hypers)


def check_ingredients(config: StudyConfig, where: str) -> None:
    """Holds the ingredients against the scenario, and what is learned.

    Raises:
        InputError: one of them does not fit.
    """
    kinds = [ingredient_class(name, where) for name in config.space.ingredients]
    refuse_misfits(kinds, config.stream.scenario, config.stream.target, where)


def check_study(config: StudyConfig, stream: Stream, where: str) -> None:
    """Holds the study against its stream.

    Raises:
        InputError: what is learned does not fit the examples, or the objective needs more tasks.
    """
    if len(stream.tasks) < 2:
        raise InputError(
            f"stream `{config.stream.name}`: the objective `{config.objective.name}` mixes old and new tasks and "
            f"needs at least 2, but got n_tasks={len(stream.tasks)}."
        )
    target = target_of(stream.target, where)
    target.for_stream(stream, target.outputs(stream, config.stream.scenario))
    for split in range(config.stream.splits) if "validation" in config.parts else ():
        require_values(config, stream.of_split(split))


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


def default_within(searched: Range | Choices, hyper: Hyper) -> Value:
    """The library's default, or, where what is searched lacks it, what is nearest to it there; of words, and among
    equally near ones, the first choice. A number that switches its ingredient off is near to no other.

    >>> width = Hyper("width", "int", 16, "units", low=0, off=0)
    >>> default_within(Choices(choices=(5, 10, 20)), width), default_within(Choices(choices=(0, 100)), width)
    (20, 100)
    >>> default_within(Range(low=20, high=40), width)
    20
    """
    if isinstance(searched, Choices):
        return _nearest(searched.choices, hyper)
    if searched.zero and hyper.default == 0:
        return 0
    inside = min(max(float(hyper.default), searched.low), searched.high)
    return int(inside) if hyper.kind == "int" else inside


def _nearest(choices: Sequence[Value], hyper: Hyper) -> Value:
    if hyper.default in choices:
        return hyper.default
    if hyper.kind == "choice":
        return choices[0]
    # Without its ingredient trial 0 would be plain training, which is not what the default is beside.
    return min(choices, key=lambda value: (value == hyper.off, abs(float(value) - float(hyper.default))))


def reference_values(space: Space, base: Mapping[str, Hyper]) -> dict[str, Value]:
    """The base hyperparameters of the references `naive` and `joint`: fixed ones as fixed, searched ones at default."""
    values: dict[str, Value] = {}
    for name, hyper in base.items():
        searched = space.search.get(name)
        value = space.fixed.get(name, hyper.default) if searched is None else default_within(searched, hyper)
        values[name] = hyper.check(value, "space")
    return values
