"""Which settings of a trial can change anything: those of an ingredient that is off cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cfsweep.hypers import BASE_HYPERS, Hyper, Value
from cfsweep.training.ingredients import Ingredient, ingredient_class


def idle(ingredients: Iterable[str], values: Mapping[str, Value]) -> dict[str, str]:
    """The settings that cannot act beside the others, each with the reason. What switches an ingredient off is none of
    them; all else of that ingredient is.

    >>> idle(["replay"], {"replay_ratio": 0.0, "replay_buffer": 500, "replay_mode": "reservoir", "optimizer": "sgd"})
    {'replay_buffer': 'replay is off (replay_ratio=0)', 'replay_mode': 'replay is off (replay_ratio=0)'}
    >>> idle([], {"momentum": 0.9, "optimizer": "adam"})
    {'momentum': 'it acts with optimizer=sgd alone'}
    """
    found: dict[str, str] = {}
    for kind in map(ingredient_class, ingredients):
        if kind.is_off(values):
            off = [hyper for hyper in kind.hypers if hyper.off is not None and values[hyper.name] == hyper.off]
            why = f"{kind.name} is off ({', '.join(f'{hyper.name}={values[hyper.name]:g}' for hyper in off)})"
            others = [hyper for hyper in kind.hypers if hyper not in off]
            found |= {hyper.name: why for hyper in others if not _switches_on(kind, hyper, values)}
    hypers = [*BASE_HYPERS, *(hyper for name in ingredients for hyper in ingredient_class(name).hypers)]
    for hyper in hypers:
        name, needed = hyper.only_with or ("", None)
        at_off = hyper.off is not None and values.get(hyper.name) == hyper.off
        if hyper.only_with and hyper.name in values and not at_off and values[name] != needed:
            found.setdefault(hyper.name, f"it acts with {name}={needed} alone")
    return found


def _switches_on(kind: type[Ingredient], hyper: Hyper, values: Mapping[str, Value]) -> bool:
    """Whether some value of this hyperparameter alone would switch the ingredient on: that of `freeze_layers`, say."""
    others: tuple[Value | None, ...] = (*hyper.choices, hyper.default, hyper.low, hyper.high)
    if hyper.layers:
        others = ("a layer",)
    return any(not kind.is_off({**values, hyper.name: value}) for value in others if value is not None)


def acting(ingredients: Iterable[str], values: Mapping[str, Value]) -> dict[str, Value]:
    """The settings that make a run what it is. Runs that agree in them, and in their seed, are one to the last bit: an
    ingredient that is off leaves no trace, whatever switched it off.

    >>> acting(["replay"], {"lr": 0.1, "optimizer": "sgd", "replay_ratio": 0.5, "replay_buffer": 0, "replay_mode": "x"})
    {'lr': 0.1, 'optimizer': 'sgd'}
    """
    left_out = set(idle(ingredients, values))
    for kind in map(ingredient_class, ingredients):
        if kind.is_off(values):
            left_out |= {hyper.name for hyper in kind.hypers}
    return {name: value for name, value in values.items() if name not in left_out}
