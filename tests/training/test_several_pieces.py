"""Several ingredients with the same piece, or with pieces that meet: all of them act, each in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Hyper
from cfsweep.testing import PlainLoop, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import outcomes, path_to, weights
from cfsweep.training.ingredients import (
    ActiveClasses,
    Buffered,
    Comparison,
    Distillation,
    Drawn,
    Examples,
    LossShares,
    Penalty,
    Projection,
    RateByWeight,
    State,
    StopRule,
    Values,
)
from cfsweep.training.ingredients.replay import Replay
from cfsweep.training.spec import RunSpec


def knob(name: str, default: float = 1.0) -> tuple[Hyper, ...]:
    return (Hyper(name, "float", default, "strength", low=0.0, off=0.0, takes_effect="later"),)


class Slower(RateByWeight):
    """All weights learn at a third of the rate."""

    name, summary, paper = "slower", "", ""
    hypers = (Hyper("slower", "float", 0.5, "", low=0.0, off=1.0),)

    def weight_rates(self, values: Values) -> Tensor:
        return values["slower"].expand(self.context.layout.size)


class StillSlower(Slower):
    """And once more."""

    name = "still-slower"
    hypers = (Hyper("still_slower", "float", 0.25, "", low=0.0, off=1.0),)

    def weight_rates(self, values: Values) -> Tensor:
        return values["still_slower"].expand(self.context.layout.size)


class Features(Distillation):
    """The features of a layer stay near."""

    name, summary, paper, hypers = "features", "", "", knob("features_weight")
    layers = ("body.1",)
    _knob = "features_weight"

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        (now,), (before,) = answers.now.features.values(), answers.before.features.values()
        return values[self._knob] * (now - before).square().mean()


class MoreFeatures(Features):
    """The same features again."""

    name, hypers = "more-features", knob("more_features_weight")
    _knob = "more_features_weight"


class FromNothing(Distillation):
    """Its old network is one of zeros, which answers nothing; whoever shows it another one makes the run fail."""

    name, summary, paper, hypers = "from-nothing", "", "", knob("nothing_weight")

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return {"old": torch.zeros_like(theta)}

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        wrong = answers.before.logits.abs().sum() > 0
        return torch.where(wrong, torch.inf, 0.0) + 0.0 * answers.now.logits.sum()


class Half(Distillation, LossShares):
    """Half of the batch's loss, and three times the squared logits of the first two outputs."""

    name, summary, paper, hypers = "half", "", "", knob("half_on")
    trains_old_outputs = True
    _shares, _knob = (0.5, 3.0), "half_on"

    def distillation_loss(self, answers: Comparison, values: Values, task: int) -> Tensor:
        return answers.now.logits[:, :2].square().mean()

    def loss_shares(self, values: Values, task: int) -> tuple[Tensor, Tensor]:
        of_batch, own = (torch.full_like(values["lr"], share) for share in self._shares)
        on = values[self._knob] > 0
        return torch.where(on, of_batch, 1.0), torch.where(on, own, 0.0)


class Fifth(Half):
    """A fifth of the batch's loss, and a tenth of the same."""

    name, hypers = "fifth", knob("fifth_on")
    _shares, _knob = (0.2, 0.1), "fifth_on"


class PlainShares(PlainLoop):
    """Both at once."""

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        loss = super().batch_loss(indices, learned)
        if learned == 1:
            return loss
        return 0.5 * 0.2 * loss + (3 + 0.1) * self.network(self.x[indices])[:, :2].square().mean()


class Without(ActiveClasses):
    """The first output takes no part."""

    name, summary, paper, hypers = "without-first", "", "", knob("without_first")
    _output = 0

    def active_classes(self, masks: Tensor, values: Values, task: int) -> Tensor:
        left = masks.clone()
        left[:, self._output] = False
        return left


class WithoutSecond(Without):
    """Nor the second."""

    name, hypers = "without-second", knob("without_second")
    _output = 1


class Halt(Replay, Projection):
    """No step is taken once something is rehearsed."""

    name, summary, paper = "halt", "", ""

    def mix_in(self, order: Any, batch_size: int, buffer: Any, values: Any, rng: Any) -> Any:
        return order

    def n_draws(self, batch_size: int) -> int:
        return 2

    def replay_loss(self, drawn: Drawn, values: Values) -> Tensor:
        return drawn.logits.square().mean()

    def project(self, gradient: Tensor, reference: Tensor, values: Values) -> Tensor:
        return torch.zeros_like(gradient)


class Pull(Penalty):
    """Towards zero, strongly."""

    name, summary, paper, hypers = "pull-to-zero", "", "", knob("pull_to_zero")

    def gradient(self, theta: Tensor, state: State, values: Values) -> Tensor:
        return values["pull_to_zero"] * theta

    def consolidate(self, theta: Tensor, state: State, values: Values, task: int, examples: Examples) -> State:
        return state


class Nudge(StopRule):
    """Moves the weights at each check, and ends the task at check number `until`."""

    name, summary, paper = "nudge", "", ""
    looks_at_old = False
    hypers = (Hyper("until", "float", 1.0, "", low=0.0, off=0.0),)

    def n_checks(self, epochs: int) -> int:
        return epochs

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        return theta + (1.0 if number else 0.0), state, values["until"] <= number


class Secretive(Nudge):
    """It keeps what it did not declare."""

    name = "secretive-rule"

    def check(
        self, theta: Tensor, state: State, values: Values, scores: Tensor, task: int, number: int
    ) -> tuple[Tensor, State, Tensor]:
        return theta, {"secret": theta}, values["until"] <= number


def paths(*kinds: Any) -> tuple[str, ...]:
    return tuple(path_to(kind) for kind in kinds)


def test_rates_by_weight_multiply() -> None:
    given = {"optimizer": "sgd", "momentum": 0.0}
    both = finish(make_pack(small_stream(), paths(Slower, StillSlower), lr=0.08, **given))
    naive = finish(make_pack(small_stream(), lr=0.01, **given))
    torch.testing.assert_close(weights(both), weights(naive), rtol=1e-4, atol=1e-6)


def test_distillations_of_one_layer_add_up() -> None:
    given = {"optimizer": "sgd", "scenario": "domain-il"}
    twice = finish(make_pack(small_stream(), paths(Features), features_weight=40.0, **given))
    names = paths(Features, MoreFeatures)
    both = finish(make_pack(small_stream(), names, features_weight=15.0, more_features_weight=25.0, **given))
    torch.testing.assert_close(weights(both), weights(twice), rtol=1e-4, atol=1e-5)
    naive = finish(make_pack(small_stream(), **given))
    assert not torch.allclose(weights(both), weights(naive), atol=1e-3)


@pytest.mark.parametrize("names", [paths("lwf", FromNothing), paths(FromNothing, "lwf")], ids=["last", "first"])
def test_each_distillation_sees_its_own_old_network(names: tuple[str, ...]) -> None:
    pack = finish(make_pack(small_stream(), names, scenario="class-il"))
    assert pack.records[0].failure is None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_shares_of_the_batch_multiply_and_each_ingredient_has_its_own(scenario: Scenario) -> None:
    names = paths(Half, Fifth)
    run = RunSpec(0, 5, values_of(names, optimizer="sgd", half_on=1.0, fifth_on=1.0))
    twins_agree(names, PlainShares, small_stream(), run, scenario)


def test_shares_are_those_of_each_row() -> None:
    """Runs that differ in them come to what they come to alone."""
    names = paths(Half, Fifth)
    given = [{"half_on": half, "fifth_on": fifth} for half, fifth in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0))]
    runs = tuple(RunSpec(k, 0, values_of(names, optimizer="sgd", **of)) for k, of in enumerate(given))
    together = weights(finish(make_pack(small_stream(), names, runs)))
    for k, run in enumerate(runs):
        torch.testing.assert_close(weights(finish(make_pack(small_stream(), names, (run,))))[0], together[k])
    naive = weights(finish(make_pack(small_stream(), optimizer="sgd")))[0]
    torch.testing.assert_close(together[3], naive)
    assert (together[:3] - naive).abs().amax(1).min() > 1e-3


def test_active_classes_are_those_that_all_leave() -> None:
    """The outputs that either leaves out are as after the first task; the others have learned."""
    pack = make_pack(small_stream(), paths(Without, WithoutSecond), scenario="class-il", optimizer="sgd")
    pack.train_next_task()
    before = pack.context.layout.unflatten(weights(pack)[0])["head.weight"].clone()
    pack.train_next_task()
    after = pack.context.layout.unflatten(weights(pack)[0])["head.weight"]
    moved = (after != before).any(1).tolist()
    assert moved == [False, False, True, True, False, False]


def test_a_projection_has_the_last_word_over_penalties() -> None:
    pack = make_pack(small_stream(), paths(Halt, Pull), optimizer="sgd", momentum=0.0, replay_buffer=9)
    assert issubclass(Halt, Buffered)
    pack.train_next_task()
    before = weights(pack).clone()
    pack.train_next_task()
    assert torch.equal(weights(pack), before)


def test_a_run_that_has_finished_its_task_is_not_moved_by_later_checks() -> None:
    (name,) = paths(Nudge)
    runs = tuple(RunSpec(k, 0, values_of((name,), until=float(until), lr=1e-12)) for k, until in enumerate((1, 3)))
    pack = make_pack(small_stream(), (name,), runs)
    before = weights(pack).clone()
    pack.train_next_task()
    moved = (weights(pack) - before).mean(1)
    torch.testing.assert_close(moved, torch.tensor([1.0, 3.0]), rtol=0, atol=1e-4)


def test_a_stop_rule_that_keeps_what_it_did_not_declare_is_named() -> None:
    with pytest.raises(ValueError, match="Secretive: its state begins with nothing, but a method returned `secret`"):
        finish(make_pack(small_stream(), paths(Secretive)))


@pytest.mark.parametrize("off", [{"der_alpha": 0.0, "der_beta": 0.0}, {"der_buffer": 0}], ids=["off", "empty"])
def test_old_outputs_rest_where_nothing_is_rehearsed_though_a_neighbour_rehearses(off: dict[str, Any]) -> None:
    """Weight decay would move them."""
    given = {"optimizer": "adamw", "weight_decay": 0.1}
    runs = tuple(RunSpec(k, 0, values_of(("der++",), **given, **more)) for k, more in enumerate([{}, off]))
    pack = finish(make_pack(small_stream(), ("der++",), runs, "task-il"))
    naive = finish(make_pack(small_stream(), scenario="task-il", **given))
    torch.testing.assert_close(weights(pack)[1], weights(naive)[0], rtol=1e-4, atol=1e-5)
    assert outcomes(pack)[1]["test"] == outcomes(naive)[0]["test"]
