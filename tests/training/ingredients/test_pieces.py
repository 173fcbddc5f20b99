"""What an ingredient may define, and what is refused: before anything is trained, in a text that names the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Hyper
from cfsweep.testing import finish, make_pack, small_stream, values_of
from cfsweep.testing.packs import off_values, path_to
from cfsweep.training.ingredients import (
    BatchLoss,
    Buffer,
    Buffered,
    BufferedOnline,
    Classifier,
    Comparison,
    Consolidation,
    Cut,
    Distillation,
    Drawn,
    Examples,
    Held,
    Indices,
    Ingredient,
    LossShares,
    MixedReplay,
    Penalty,
    Projection,
    RateByStep,
    ReplayLoss,
    State,
    StepObserver,
    StopRule,
    TaskStart,
    Timeline,
    Values,
    hypers_of,
    ingredient_class,
    registry,
)
from cfsweep.training.ingredients._base import pieces_of
from cfsweep.training.ingredients.der import DerPlusPlus

STRENGTH = Hyper("pull", "float", 1.0, "strength", low=0.0, off=0.0, takes_effect="later")


class Whole(Penalty):
    """A penalty with everything that it needs."""

    name, summary, paper, hypers = "whole", "pulls", "none", (STRENGTH,)

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return values["pull"] * self._half(theta)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return state

    @staticmethod
    def _half(theta: Tensor) -> Tensor:
        """A helper begins with an underscore, and may be called anything."""
        return theta / 2


def define(*bases: type[Ingredient], **content: Any) -> type[Ingredient]:
    """A class as its author would write it."""
    return type("Mine", bases, {"__module__": "my_package.remedies", "__qualname__": "Mine", **content})


# ------------------------------------------------------------------------------------------------ misspelt


def anything(*_: Any) -> Any:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("bases", "content", "said"),
    [
        (
            (Penalty,),
            {"consolidat": anything},
            "`consolidat` is no method .* closest is `consolidate` of Consolidation",
        ),
        ((Penalty,), {"gradients": anything}, "`gradients` is no method .*`gradient` of Penalty. Rename it, or begin"),
        (
            (Penalty,),
            {"observe_step": anything},
            "Rename it, inherit StepObserver, or begin",
        ),
        ((Penalty,), {"update_buffer": anything}, r"pieces \(Penalty, Consolidation\).* of Buffered"),
        ((Penalty,), {"senarios": ("task-il",)}, "`senarios` is no attribute .* closest is `scenarios` of Ingredient"),
        ((Penalty,), {"stores_logits": True}, "`stores_logits` is no attribute .* of Buffered"),
        ((Penalty,), {"n_exmples": property(anything)}, "`n_exmples` is no method .*`n_examples` of Consolidation"),
        ((ReplayLoss,), {"n_draw": anything}, "closest is `n_draws` of ReplayLoss"),
        ((Ingredient,), {"rate": anything}, r"pieces \(none\).* closest is `rate` of RateByStep"),
        ((Whole,), {"gradiant": anything}, "closest is `gradient` of Penalty"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_nobody_would_call_is_refused_where_the_class_is_defined(
    bases: tuple[type[Ingredient], ...], content: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said) as caught:
        define(*bases, **content)
    assert str(caught.value).startswith("my_package.remedies.Mine: ")
    assert "Rename it" in str(caught.value)
    assert "begin it with an underscore" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_piece_asks_for_and_what_begins_with_an_underscore_is_fine() -> None:
    kind = define(Whole, _anything=1, n_examples=lambda self, n: n, excludes={"ewc": "they hold the same weights"})
    assert pieces_of(kind) == [Penalty, Consolidation]
    assert kind.n_examples is not Whole.n_examples


# ------------------------------------------------------------------------------------------------ not whole


class Unfinished(Penalty):
    """It lacks a method."""

    name, summary, paper, hypers = "unfinished", "", "", (STRENGTH,)

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return theta


class Nameless(Whole):
    """It is called what its base is called, so nothing is wrong with it but its name."""

    name = "ewc"


class Anonymous(RateByStep):
    """Nothing that a class says of itself."""

    def rate(self, values: Values, step: int, n_steps: int) -> Tensor:
        return values["lr"]


class Sourceless(ReplayLoss):
    """It draws from nothing."""

    name, summary, paper, hypers = "sourceless", "", "", ()

    def n_draws(self, batch_size: int) -> int:
        return batch_size

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        return drawn.logits.sum()


class Undrawn(BufferedOnline):
    """Nobody draws from it."""

    name, summary, paper, hypers = "undrawn", "", "", ()

    def slots(self, offered: int, n: int, values: Mapping[str, float], rng: np.random.Generator) -> Indices:
        return np.full(n, -1)


class TwoBuffers(Undrawn, DerPlusPlus):
    """One that fills online, and one that does not."""

    name = "two-buffers"


class Nothing(Ingredient):
    """It does nothing."""

    name, summary, paper, hypers = "nothing", "", "", ()


def function() -> None:
    """No class."""


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (Unfinished, "Unfinished must have consolidate, but lacks it. Define it."),
        (Anonymous, "Anonymous must have name, summary, paper, hypers, but lacks it. Define it."),
        (Sourceless, "Sourceless has a ReplayLoss, but no source. Inherit Buffered, BufferedOnline or Generator too."),
        (Undrawn, "Undrawn has a buffer that is filled online, .* Inherit ReplayLoss or Projection beside"),
        (TwoBuffers, "TwoBuffers has a buffer that is filled online, .* and no other buffer. .* and not Buffered."),
        (Nothing, "Nothing must inherit a piece, but has none, so it would do nothing."),
        (Nameless, "`ewc` is the name of a built-in ingredient. Choose another `name`."),
        (function, "must be a subclass of Ingredient, but got <function function at .*Inherit a piece, as Penalty."),
        (Tensor, "must be a subclass of Ingredient, but got <class 'torch.Tensor'>. Inherit a piece, as Penalty."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_class_that_is_not_whole_is_refused_in_one_line(thing: Any, said: str) -> None:
    path = f"{__name__}:{thing.__name__}" if thing.__module__ == __name__ else "torch:Tensor"
    with pytest.raises(InputError, match=f"^space.yaml: ingredient `{path}`: .*{said}") as caught:
        ingredient_class(path, "space.yaml")
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_refused_in_one_line() -> None:
    for name, said in (
        ("ewx", "space.yaml: unknown ingredient `ewx`. Known, closest first: ewc"),
        (f"{__name__}:Whoel", f"unknown class in module `{__name__}` `Whoel`. Known, closest first: Whole"),
        ("no_such_package:Mine", "there is no module `no_such_package` in the current folder"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            ingredient_class(name, "space.yaml")
        assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ one beside another


class Halfway(Cut):
    """It cuts, as packnet does."""

    name, summary, paper, hypers = "halfway", "", "", ()

    def cut_frac(self) -> float:
        return 0.5

    def cut(self, theta: Tensor, state: State, values: Values, task: int) -> tuple[Tensor, State]:
        return theta, state


class Squares(BatchLoss):
    """Its loss of the batch is of the logits alone."""

    name, summary, paper, hypers = "squares", "", "", ()

    def batch_loss(self, logits: Tensor, labels: Tensor, mask: Tensor, values: Values, task: int) -> Tensor:
        return logits.square().mean()


class Oracle(Classifier):
    """It answers always the same."""

    name, summary, paper, hypers = "oracle", "", "", ()

    def update_buffer(
        self, buffer: Buffer, examples: Indices, values: Mapping[str, float], rng: np.random.Generator
    ) -> Buffer:
        return buffer

    def outputs_for(self, features: Tensor, held: Held) -> Tensor:
        return torch.zeros(len(features), 2)


class Hasty(StopRule):
    """It ends tasks early."""

    name, summary, paper, hypers = "hasty", "", "", ()
    looks_at_old = False

    def n_checks(self, epochs: int) -> int:
        return epochs

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        return theta, state, torch.tensor(True)


class SameKnob(Whole):
    """Its hyperparameter is called what one of `Whole` is called."""

    name = "same-knob"


class Jealous(Whole):
    """It excludes another one."""

    name = "jealous"
    hypers = (Hyper("jealousy", "float", 1.0, "", off=0.0),)
    excludes: ClassVar[Mapping[str, str]] = {"si": "both note every step"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("packnet", Halfway),
            "one ingredient can cut within a task, but `packnet` and `halfway` do. Remove one of them",
        ),
        (("icarl", Squares), "one ingredient can replace the loss of the batch, but `icarl` and `squares` do. Remove"),
        (("icarl", Oracle), "one ingredient can answer in place of the output layer, but `icarl` and `oracle` do."),
        (("packnet", Hasty), "`hasty` and `packnet` do not go together: the one ends a task early, the other cuts"),
        (("early-stopping", Halfway), "`early-stopping` and `halfway` do not go together: the one ends a task early"),
        ((Whole, SameKnob), "belongs to one ingredient, but `pull` of `same-knob` is there already. Rename it"),
        ((Whole, Whole), "each ingredient appears once, but `whole` is listed twice. Remove one"),
        (("si", Jealous), "`jealous` and `si` do not go together: both note every step. Remove one of them"),
    ],
    ids=["cuts", "losses", "answers", "own stop rule", "own cut", "hyperparameter", "twice", "excluded"],
)
def test_two_that_do_not_go_together_are_refused_in_one_line(names: tuple[Any, ...], said: str) -> None:
    with pytest.raises(InputError, match=f"^space.yaml: .*{said}") as caught:
        hypers_of([path_to(name) for name in names], "space.yaml")
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ state


class Secretive(Whole):
    """It keeps what it did not declare, or leaves out what it declared."""

    name = "secretive"
    hypers = (Hyper("secrecy", "choice", "more", "", choices=("more", "less"), static=True),)

    def initial_state(self, theta: Tensor) -> State:
        return {"anchor": theta.clone()}

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return torch.zeros_like(theta)

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {**state, "hidden": theta.clone()} if self.settings["secrecy"] == "more" else {}


class Restless(Secretive, StepObserver):
    """It does so in each step."""

    name = "restless"
    hypers = (Hyper("restlessness", "float", 1.0, "", off=0.0),)

    def observe_step(self, gradient: Tensor, before: Tensor, after: Tensor, state: State, values: Values) -> State:
        return {"speed": (after - before).abs()}


class Amnesic(Distillation):
    """It keeps no old weights."""

    name, summary, paper, hypers = "amnesic", "", "", (Hyper("amnesia", "float", 1.0, "", off=0.0),)

    def initial_state(self, theta: Tensor) -> State:
        return {}

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {}

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        return answers.now.logits.sum()


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (Secretive, {"secrecy": "more"}, "Secretive: its state begins with `anchor`, but a method returned `hidden`"),
        (
            Secretive,
            {"secrecy": "less"},
            "Secretive: .* a method that returns it left out `anchor`. Return every",
        ),
        (Restless, {}, "Restless: its state begins with `anchor`, but a method returned `speed` beside it. Give every"),
        (Amnesic, {}, "Amnesic: its state must hold the old weights as `old`. In `initial_state` and `consolidate`"),
    ],
    ids=["more", "less", "step", "old weights"],
)
def test_a_state_that_changes_its_entries_is_named(kind: type[Ingredient], given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        finish(make_pack(small_stream(), (path_to(kind),), **given))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ built in


def test_the_timeline_names_each_built_in_ingredient_where_its_pieces_say() -> None:
    by_name = {
        name: make_pack(small_stream(), (name,), scenario=kind.scenarios[0]).context.ingredients[0]
        for name, kind in registry.items()
    }
    timeline = Timeline(list(by_name.values()))
    found = {attribute: {i.name for i in those} for attribute, those in vars(timeline).items()}
    assert set().union(*found.values()) == registry.keys()
    expected = {
        "cuts": (Cut, {"packnet"}),
        "projections": (Projection, {"a-gem", "a-gem-online"}),
        "replay_losses": (
            ReplayLoss,
            {"a-gem", "a-gem-online", "er-ace", "der++", "der++-online", "generative-replay"},
        ),
        "buffered": (Buffered, {"a-gem", "a-gem-online", "er-ace", "der++", "gdumb", "replay", "icarl"}),
        "buffered_online": (BufferedOnline, {"der++-online"}),
        "mixed_replays": (MixedReplay, {"gdumb", "replay", "icarl"}),
        "batch_losses": (BatchLoss, {"icarl"}),
        "classifiers": (Classifier, {"icarl"}),
        "loss_shares": (LossShares, {"generative-replay", "lwf"}),
        "penalties": (Penalty, {"ewc", "l2-sp", "mas", "si"}),
        "step_observers": (StepObserver, {"si"}),
        "task_starts": (TaskStart, {"adapters", "gdumb", "si"}),
    }
    for attribute, (piece, some) in expected.items():
        assert found[attribute] == {name for name, kind in registry.items() if issubclass(kind, piece)}
        assert found[attribute] >= some


def test_values_are_its_own_numbers_and_the_learning_rate() -> None:
    pack = make_pack(small_stream(), ("ewc", "replay"))
    ewc, replay = pack.context.ingredients
    assert set(pack.stack.values_of(ewc)) == {"ewc_lambda", "ewc_gamma", "lr"}
    assert set(pack.stack.values_of(replay)) == {"replay_ratio", "replay_buffer", "lr"}


def test_is_on_is_the_contrary_of_is_off() -> None:
    for name, kind in registry.items():
        for chosen in ({}, *off_values(kind)):
            given = values_of((name,), **chosen)
            (ingredient,) = make_pack(small_stream(), (name,), **chosen).context.ingredients
            own = [hyper.name for hyper in kind.hypers if not hyper.static]
            numbers = {key: torch.tensor(float(given[key])) for key in ("lr", *own)}
            assert bool(ingredient.is_on(numbers)) != kind.is_off(given), (name, chosen)


def test_a_buffer_counts_examples_and_logits() -> None:
    indices: Indices = torch.arange(5).numpy()
    assert Buffer(indices, 9).n_bytes(10) == 50
    assert Buffer(indices, 9, logits=torch.zeros(5, 3).numpy()).n_bytes(10) == 50 + 5 * 3 * 4


def test_an_ingredient_of_ones_own_trains() -> None:
    pack = finish(make_pack(small_stream(), (path_to(Whole),), pull=0.1))
    assert pack.spec.method == "whole"
    assert pack.records[0].failure is None
    assert pack.report().records[0].stored_bytes == 0
