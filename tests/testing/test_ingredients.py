"""The checks pass what is sound, and each of them finds what it is there for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import CHECKS, PlainLoop, check_ingredient, compose_or_are_refused, values_of
from cfsweep.testing import ingredients as checks
from cfsweep.testing.calls import Arguments, calls_by_piece
from cfsweep.testing.packs import defaults_instead, path_to
from cfsweep.testing.plain import ByName
from cfsweep.testing.twins import agrees_with_its_twin
from cfsweep.training import ingredients
from cfsweep.training.ingredients import (
    Buffered,
    BufferedOnline,
    Extension,
    Ingredient,
    MixedReplay,
    RankedBuffer,
    Substitute,
)
from cfsweep.training.streams import Task
from examples.own_remedy import EWCPlusPlus
from tests.testing import broken

# By check, what it finds. A wrong `takes_effect` shows wherever a run meets others that share its first task.
BROKEN: dict[Callable[[str], None], type[Ingredient]] = {
    checks.knows_its_scenarios: broken.TwoLines,
    checks.same_seed_gives_the_same_bits: broken.Chance,
    checks.a_restored_run_continues_bitwise: broken.Forgetful,
    checks.a_run_goes_on_within_a_task: broken.ForgetfulWithin,
    checks.micro_batches_change_nothing: broken.Rounding,
    checks.off_is_naive: broken.NeverOff,
    checks.an_idle_setting_changes_nothing: broken.ActsAllTheSame,
    checks.on_is_not_naive: broken.OffByDefault,
    checks.sharing_the_first_task_changes_nothing: broken.TooEarly,
    checks.alone_is_as_in_a_pack: broken.Crowded,
    checks.a_dropped_neighbour_changes_nothing: broken.NoticesTheDropped,
    checks.a_kept_optimizer_is_restored_and_knows_no_neighbour: broken.CrowdedWhereKept,
    checks.state_moves_with_its_run: broken.NoNumber,
    checks.functions_of_tensors_are_pure: broken.Overwriting,
    checks.buffers_are_pure: broken.Sorting,
    checks.what_scores_it_steers_nothing: broken.Peeking,
}
ALSO: dict[type[Ingredient], set[Callable[[str], None]]] = {
    broken.TooEarly: {
        checks.alone_is_as_in_a_pack,
        checks.a_kept_optimizer_is_restored_and_knows_no_neighbour,
    },
    broken.Crowded: {checks.sharing_the_first_task_changes_nothing},  # states are made for rows, and these are fewer
    broken.NoNumber: {checks.a_run_goes_on_within_a_task},  # no number equals itself
    broken.Chance: {checks.micro_batches_change_nothing},  # it, too, compares two runs with sgd
}


class PlainEWCPlusPlus(PlainLoop):
    """One model, one step after the other."""

    def start(self) -> None:
        self.average, self.fisher, self.centre = self.zeros(), self.zeros(), self.weights()

    def note(self, gradients: ByName, before: ByName) -> None:
        alpha = float(self.values["ewcpp_alpha"])
        self.average = {name: alpha * g**2 + (1 - alpha) * self.average[name] for name, g in gradients.items()}

    def penalty(self) -> Tensor:
        return 0.5 * float(self.values["ewcpp_lambda"]) * self.quadratic(self.fisher, self.centre)

    def end_task(self, number: int, task: Task) -> None:
        self.fisher, self.centre = self.average, self.weights()


class Stronger(PlainEWCPlusPlus):
    """Not the same."""

    def penalty(self) -> Tensor:
        return 2 * super().penalty()


class Idle(PlainLoop):
    """Plain training."""


def test_the_example_is_sound_and_agrees_with_its_twin() -> None:
    check_ingredient(EWCPlusPlus, twin=PlainEWCPlusPlus, optimizer="sgd", ewcpp_alpha=0.5)


@pytest.mark.parametrize("kind", [broken.Sound, broken.SoundBuffer], ids=lambda kind: kind.name)
def test_what_is_sound_passes(kind: type[Ingredient]) -> None:
    check_ingredient(kind)


def test_each_check_has_something_that_it_finds() -> None:
    assert BROKEN.keys() == set(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_check_finds_what_is_broken_and_says_which_it_is(
    check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = BROKEN[check]
    monkeypatch.setattr(checks, "CHECKS", (check,))
    with pytest.raises(AssertionError) as caught:
        check_ingredient(kind)
    (note,) = caught.value.__notes__
    assert note == f"the ingredient `{path_to(kind)}` fails the check `{check.__name__}`: {check.__doc__}"


def test_off_means_off_whatever_the_other_settings_are() -> None:
    with pytest.raises(AssertionError):
        checks.off_is_naive(path_to(broken.OffUnlessLoud))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_other_check_finds_it(check: Callable[[str], None]) -> None:
    kind, failed = BROKEN[check], set()
    for other in CHECKS:
        try:
            other(path_to(kind))
        except AssertionError:
            failed.add(other)
    assert failed == {check} | ALSO.get(kind, set())


@pytest.mark.parametrize(
    ("twin", "said"),
    [(Stronger, "Stronger does something else than `.*EWCPlusPlus` in task-il: "), (Idle, "Idle does ")],
)
def test_a_twin_that_does_something_else_disagrees(twin: type[PlainLoop], said: str) -> None:
    with pytest.raises(AssertionError, match=f"{said}.*the weights differ by up to"):
        agrees_with_its_twin(path_to(EWCPlusPlus), twin)


def test_a_comparison_in_which_the_ingredient_has_no_say_is_none() -> None:
    weak = {"ewcpp_lambda": 1e-9}
    with (
        pytest.raises(AssertionError, match="in task-il it has no say with these values"),
        defaults_instead(path_to(EWCPlusPlus), weak),
    ):
        agrees_with_its_twin(path_to(EWCPlusPlus), PlainEWCPlusPlus)


def test_an_authors_values_hold_in_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OffByDefault` changes nothing, and a check finds that; not so where its author switches it on."""
    monkeypatch.setattr(checks, "CHECKS", (checks.on_is_not_naive, checks.alone_is_as_in_a_pack))
    for _ in range(2):
        with pytest.raises(AssertionError, match="its defaults are plain training"):
            check_ingredient(broken.OffByDefault)
        check_ingredient(broken.OffByDefault, pull=0.5)
    assert values_of((path_to(broken.OffByDefault),))["pull"] == 0.0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pul": 0.5}, "check_ingredient: unknown hyperparameter `pul`. Known, closest first: pull"),
        ({"pull": -1.0}, "check_ingredient: `pull`: `0 <= pull` must hold, but got pull=-1.0"),
    ],
    ids=["unknown", "illegal"],
)
def test_a_value_that_cannot_be_is_refused(given: dict[str, Value], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_ingredient(broken.Sound, **given)


def test_each_piece_with_a_function_of_tensors_is_called() -> None:
    called = calls_by_piece(None, Arguments(*[None] * len(Arguments._fields)))  # type: ignore[arg-type]
    pieces = {kind for kind in vars(ingredients).values() if isinstance(kind, type) and issubclass(kind, Ingredient)}
    assert pieces - called.keys() == {Buffered, RankedBuffer, BufferedOnline, MixedReplay, Extension, Substitute}, (
        "those work on indices, on a module, or are the base of others"
    )


def test_the_example_goes_with_others_and_a_pair_that_does_not_is_found() -> None:
    compose_or_are_refused(EWCPlusPlus, "replay")
    with pytest.raises(AssertionError):
        compose_or_are_refused(broken.NeverOff, "replay")


def test_checks_take_a_class_or_its_path() -> None:
    assert path_to(EWCPlusPlus) == "examples.own_remedy:EWCPlusPlus"
    assert path_to("examples.own_remedy:EWCPlusPlus") == path_to(EWCPlusPlus)
    checks.functions_of_tensors_are_pure("examples.own_remedy:EWCPlusPlus")
    assert torch.get_rng_state().shape
