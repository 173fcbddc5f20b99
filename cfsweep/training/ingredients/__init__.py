"""The ingredients by name, and the hyperparameters that a set of them brings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache

from torch import nn

from cfsweep.config import Scenario
from cfsweep.errors import InputError, unknown
from cfsweep.hypers import BASE_HYPERS, Hyper, layer_names
from cfsweep.training.ingredients._arguments import (
    EMPTY_BUFFER,
    Answers,
    Buffer,
    Comparison,
    Drawn,
    Examples,
    Features,
    Generated,
    Held,
)
from cfsweep.training.ingredients._base import (
    Context,
    Conventions,
    Indices,
    Ingredient,
    Settings,
    State,
    Values,
    pieces_of,
)
from cfsweep.training.ingredients._pieces import (
    ActiveClasses,
    BatchLoss,
    Buffered,
    BufferedOnline,
    Classifier,
    ClosedForm,
    Consolidation,
    Cut,
    Distillation,
    Extension,
    Generator,
    LossShares,
    MixedReplay,
    Partition,
    Penalty,
    Projection,
    RankedBuffer,
    RateByStep,
    RateByWeight,
    ReplayLoss,
    StepObserver,
    StopRule,
    Substitute,
    TaskStart,
    TaskWeights,
)
from cfsweep.training.ingredients._steps import OF_STEPS, refuse_without_steps
from cfsweep.training.ingredients._timeline import FAMILIES, Read, Timeline, family_of, reads_of
from cfsweep.training.plugins import current_folder_importable, imported, installed, path_of
from cfsweep.training.targets import target_of

__all__ = [
    "EMPTY_BUFFER",
    "FAMILIES",
    "MOVES_FEATURES",
    "OF_STEPS",
    "SOLE",
    "ActiveClasses",
    "Answers",
    "BatchLoss",
    "Buffer",
    "Buffered",
    "BufferedOnline",
    "Classifier",
    "ClosedForm",
    "Comparison",
    "Consolidation",
    "Context",
    "Conventions",
    "Cut",
    "Distillation",
    "Drawn",
    "Examples",
    "Extension",
    "Features",
    "Generated",
    "Generator",
    "Held",
    "Indices",
    "Ingredient",
    "LossShares",
    "MixedReplay",
    "Partition",
    "Penalty",
    "Projection",
    "RankedBuffer",
    "RateByStep",
    "RateByWeight",
    "Read",
    "ReplayLoss",
    "Settings",
    "State",
    "StepObserver",
    "StopRule",
    "Substitute",
    "TaskStart",
    "TaskWeights",
    "Timeline",
    "Values",
    "check_layers",
    "family_of",
    "hypers_of",
    "ingredient_class",
    "reads_of",
    "refuse_misfits",
    "refuse_without_steps",
    "registry",
]


def _built_in() -> dict[str, type[Ingredient]]:
    """By name, the ingredients that the modules of this folder define, a family after the other."""
    found: list[type[Ingredient]] = []
    for info in pkgutil.iter_modules(__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"{__name__}.{info.name}")
            kinds = (kind for kind in vars(module).values() if inspect.isclass(kind) and issubclass(kind, Ingredient))
            found += [kind for kind in kinds if kind.__module__ == module.__name__]
    families = list(FAMILIES)
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (families.index(family_of(kind)), kind.name))}


registry: dict[str, type[Ingredient]] = _built_in()

SOLE: dict[type[Ingredient], str] = {
    Cut: "cut within a task",
    BatchLoss: "replace the loss of the batch",
    Substitute: "answer in place of the output layer",
}
"""The pieces that at most one ingredient of a trial can have, and what they do."""

MOVES_FEATURES: tuple[type[Ingredient], ...] = (TaskStart, Cut, TaskWeights)
"""The pieces that set weights otherwise than by steps, which no `ClosedForm` can follow."""


def ingredient_class(name: str, where: str = "ingredients") -> type[Ingredient]:
    """The ingredient called `name`: a built-in one, the entry point of an installed package, or `package.module:Class`.

    Raises:
        InputError: there is none, it cannot be imported, or it is not whole.
    """
    return registry[name] if name in registry else _own_class(name, where)


@cache
def _own_class(name: str, where: str) -> type[Ingredient]:
    """That of one's own, looked for once. (What is built in is looked up each time, so that it can be replaced.)"""
    path = path_of("ingredients", name)
    if path is None:
        raise unknown(where, "ingredient", name, [*registry, *installed("ingredients")])
    place = f"{where}: ingredient `{name}`"
    with current_folder_importable():
        found = imported(path, place, "class")
    return checked_class(found, place)


def checked_class(found: object, where: str) -> type[Ingredient]:
    """`found` as a class that a pack can use.

    Raises:
        InputError: it is no ingredient, or lacks something.
    """
    if not (inspect.isclass(found) and issubclass(found, Ingredient)):
        raise InputError(
            f"{where}: it must be a subclass of Ingredient, but got {found!r}. Inherit a piece, as Penalty."
        )
    said = ("name", "summary", "paper", "hypers", *(("looks_at_old",) if issubclass(found, StopRule) else ()))
    lacking = [name for name in said if not hasattr(found, name)]
    lacking += sorted(found.__abstractmethods__)
    if lacking:
        raise InputError(f"{where}: {found.__name__} must have {', '.join(lacking)}, but lacks it. Define it.")
    if not pieces_of(found):
        raise InputError(f"{where}: {found.__name__} must inherit a piece, but has none, so it would do nothing.")
    if issubclass(found, ReplayLoss) and not issubclass(found, Buffered | BufferedOnline | Generator):
        raise InputError(
            f"{where}: {found.__name__} has a ReplayLoss, but no source. Inherit Buffered, BufferedOnline or Generator "
            "too."
        )
    if issubclass(found, BufferedOnline) and (issubclass(found, Buffered) or not issubclass(found, ReplayLoss)):
        raise InputError(
            f"{where}: {found.__name__} has a buffer that is filled online, which needs a ReplayLoss to draw from it, "
            "and no other buffer. Inherit ReplayLoss or Projection beside BufferedOnline, and not Buffered."
        )
    if registry.get(found.name, found) is not found:
        raise InputError(f"{where}: `{found.name}` is the name of a built-in ingredient. Choose another `name`.")
    return found


def hypers_of(names: Iterable[str], where: str = "ingredients") -> dict[str, Hyper]:
    """The hyperparameters of a trial that carries these ingredients, by name: the base ones first.

    Raises:
        InputError: an unknown name, one given twice, or two that do not go together.
    """
    hypers = {hyper.name: hyper for hyper in BASE_HYPERS}
    kinds: dict[str, type[Ingredient]] = {}
    for name in names:
        kind = ingredient_class(name, where)
        if kind.name in kinds:
            raise InputError(f"{where}: each ingredient appears once, but `{kind.name}` is listed twice. Remove one.")
        for hyper in kind.hypers:
            if hyper.name in hypers:
                raise InputError(
                    f"{where}: each hyperparameter belongs to one ingredient, but `{hyper.name}` of `{kind.name}` is "
                    "there already. Rename it."
                )
            hypers[hyper.name] = hyper
        kinds[kind.name] = kind
    for hyper in hypers.values():
        name, value = hyper.only_with or ("optimizer", "sgd")
        if name not in hypers or value not in hypers[name].choices:
            raise InputError(
                f"{where}: `{hyper.name}` has only_with={hyper.only_with}, but no choice of this name has this value. "
                "Mend it where the ingredient is defined."
            )
    for kind in kinds.values():
        for other, reason in kind.excludes.items():
            if other in kinds:
                raise InputError(
                    f"{where}: `{kind.name}` and `{other}` do not go together: {reason}. Remove one of them."
                )
    for piece, does in SOLE.items():
        those = [name for name, kind in kinds.items() if issubclass(kind, piece)]
        if len(those) > 1:
            listed = "` and `".join(those)
            raise InputError(f"{where}: one ingredient can {does}, but `{listed}` do. Remove one of them.")
    cutting = [name for name, kind in kinds.items() if issubclass(kind, Cut)]
    stopping = [name for name, kind in kinds.items() if issubclass(kind, StopRule)]
    if cutting and stopping:
        raise InputError(
            f"{where}: `{stopping[0]}` and `{cutting[0]}` do not go together: the one ends a task early, the other "
            "cuts late within it, which a run that has ended never reaches. Remove one of them."
        )
    _refuse_moved_features(kinds, where)
    return hypers


def _refuse_moved_features(kinds: Mapping[str, type[Ingredient]], where: str) -> None:
    """
    Raises:
        InputError: one goes by statistics of features, and another one sets weights otherwise than by steps.
    """
    closed = [name for name, kind in kinds.items() if issubclass(kind, ClosedForm)]
    moving = [name for name, kind in kinds.items() if issubclass(kind, MOVES_FEATURES)]
    if closed and moving:
        raise InputError(
            f"{where}: `{closed[0]}` and `{moving[0]}` do not go together: the one goes by statistics of the features "
            "of old tasks, the other one changes weights that they come from. Remove one of them."
        )


def refuse_misfits(kinds: Iterable[type[Ingredient]], scenario: Scenario, target: str, where: str) -> None:
    """Whether the ingredients can do with this scenario and target.

    Raises:
        InputError: one of them does not know the scenario, or needs classes where the target has none.
    """
    for kind in kinds:
        if scenario not in kind.scenarios:
            raise InputError(
                f"{where}: `{kind.name}` works in {', '.join(kind.scenarios)}, but got scenario={scenario}. Remove "
                f"`{kind.name}` from the ingredients, or change `--scenario`."
            )
        if kind.needs_classes and not target_of(target).has_classes:
            raise InputError(
                f"{where}: `{kind.name}` needs classes, but this stream's target is {target}. Remove `{kind.name}` "
                "from the ingredients, or take another remedy: `replay`, `der++` and penalties such as `ewc` need none."
            )


def check_layers(hypers: Mapping[str, Hyper], values: Mapping[str, object], module: nn.Module, where: str) -> None:
    """Whether the network has every layer that `values` name.

    Raises:
        InputError: it lacks one; the text lists those it has.
    """
    known = [name for name, _ in module.named_modules() if name]
    for name, value in values.items():
        for layer in layer_names(str(value)) if hypers[name].layers else ():
            if layer not in known:
                raise unknown(f"{where}: `{name}`", "layer", layer, known)
