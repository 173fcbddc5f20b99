"""The ingredients by name, and the hyperparameters that a set of them brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from cfsweep.errors import InputError, unknown
from cfsweep.hypers import BASE_HYPERS, Hyper, layer_names
from cfsweep.training.ingredients._base import Answers, Batch, Context, Ingredient, Memory, Sample, State, Values
from cfsweep.training.ingredients.a_gem import AGem
from cfsweep.training.ingredients.adapters import Adapters
from cfsweep.training.ingredients.cosine import Cosine
from cfsweep.training.ingredients.der import DerPlusPlus
from cfsweep.training.ingredients.discriminative_lr import DiscriminativeLR
from cfsweep.training.ingredients.early_stopping import EarlyStopping
from cfsweep.training.ingredients.er_ace import ErAce
from cfsweep.training.ingredients.ewc import EWC
from cfsweep.training.ingredients.feature_distillation import FeatureDistillation
from cfsweep.training.ingredients.forgetting_limit import ForgettingLimit
from cfsweep.training.ingredients.freeze import Freeze
from cfsweep.training.ingredients.generative_replay import GenerativeReplay
from cfsweep.training.ingredients.l2_sp import L2SP
from cfsweep.training.ingredients.lwf import LwF
from cfsweep.training.ingredients.mas import MAS
from cfsweep.training.ingredients.packnet import PackNet
from cfsweep.training.ingredients.replay import Replay
from cfsweep.training.ingredients.si import SI
from cfsweep.training.ingredients.warmup import Warmup

registry: dict[str, type[Ingredient]] = {
    kind.name: kind
    for kind in (
        EWC,
        L2SP,
        SI,
        MAS,
        Replay,
        ErAce,
        DerPlusPlus,
        AGem,
        GenerativeReplay,
        LwF,
        FeatureDistillation,
        PackNet,
        Adapters,
        Freeze,
        DiscriminativeLR,
        Warmup,
        Cosine,
        EarlyStopping,
        ForgettingLimit,
    )
}

__all__ = [
    "Answers",
    "Batch",
    "Context",
    "Ingredient",
    "Memory",
    "Sample",
    "State",
    "Values",
    "check_layers",
    "hypers_of",
    "registry",
]


def hypers_of(names: Iterable[str], where: str = "ingredients") -> dict[str, Hyper]:
    """The hyperparameters of a trial that carries these ingredients, by name: the base ones first.

    Raises:
        InputError: an unknown name, one given twice, or two that do not go together.
    """
    hypers = {hyper.name: hyper for hyper in BASE_HYPERS}
    listed = list(names)
    for name in listed:
        if name not in registry:
            raise unknown(where, "ingredient", name, registry)
        if listed.count(name) > 1:
            raise InputError(f"{where}: each ingredient appears once, but `{name}` is listed twice. Remove one.")
        hypers.update({hyper.name: hyper for hyper in registry[name].hypers})
    for name in listed:
        for other in registry[name].excludes:
            if other in listed:
                reason = registry[name].excludes[other]
                raise InputError(f"{where}: `{name}` and `{other}` do not go together: {reason}. Remove one of them.")
    return hypers


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
