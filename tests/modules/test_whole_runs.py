"""In a textbook loop the modules give what a pack gives: the weights within rounding, the accuracy matrix exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.hypers import Value
from cfsweep.modules import from_named, to_named
from cfsweep.modules._saved import Saved
from cfsweep.testing import twins_agree, values_of
from cfsweep.training.ingredients.si import SI
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from tests.modules import loops
from tests.training.helpers import NETWORK, few_digits

SGD: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02}


def run_of(name: str, seed: int, given: dict[str, Value]) -> RunSpec:
    return RunSpec(0, seed, values_of((name,), **{"batch_size": 16, "epochs": 2, **given}))


def assert_agrees(
    loop: type[loops.Loop[Any]], name: str, scenario: Scenario = "task-il", seed: int = 3, **given: Value
) -> loops.Loop[Any]:
    """With the pack, what is kept at the end included; and saving and loading in the midst changes no bit."""
    run = run_of(name, seed, given)
    pack, plain = twins_agree((name,), loop, few_digits(), run, scenario, NETWORK)
    assert isinstance(plain, loops.Loop)
    assert_keeps_the_same(pack, plain.module)
    interrupted = type("Interrupted", (loop,), {"interrupted": True})(few_digits(), run, scenario, NETWORK)
    assert interrupted.train() == pack.records[0].test
    assert torch.equal(interrupted.theta(), plain.theta())
    return plain


def assert_keeps_the_same(pack: Pack, module: Saved) -> None:
    """What the module keeps is what the ingredient does, by the names of parameters, and the other way round."""
    (ingredient,), layout = pack.context.ingredients, pack.context.layout
    flat = {name: value[0] for name, value in pack.stack.states[ingredient.name].items()}
    if isinstance(ingredient, SI):  # a sweep's path becomes importance when the next task begins
        values = {name: torch.tensor(value) for name, value in pack.spec.runs[0].numbers.items()}
        _, flat = ingredient.start_task(pack.stack.theta[0], flat, values, 3)
    own = {name: value for name, value in module.state_dict().items() if "." in name}
    named = to_named(layout, flat)
    assert own.keys() == named.keys()
    for name, value in own.items():
        torch.testing.assert_close(value, named[name], rtol=2e-3, atol=2e-5)
    again = from_named(layout, own)
    assert all(torch.equal(piece, own[name]) for name, piece in to_named(layout, again).items())


@pytest.mark.parametrize("fisher", ["true", "predicted", "empirical"])
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_ewc(mode: str, fisher: str) -> None:
    given: dict[str, Value] = {"ewc_lambda": 300.0, "ewc_gamma": 0.7, "ewc_examples": 31}
    assert_agrees(loops.WithEWC, "ewc", ewc_mode=mode, ewc_fisher=fisher, **given)


@pytest.mark.parametrize("scenario", ["class-il", "domain-il"])
def test_ewc_where_outputs_are_shared(scenario: Scenario) -> None:
    assert_agrees(loops.WithEWC, "ewc", scenario, ewc_lambda=300.0, ewc_examples=0, **SGD)


@pytest.mark.parametrize("scenario", ["task-il", "class-il"])
def test_mas(scenario: Scenario) -> None:
    assert_agrees(loops.WithMAS, "mas", scenario, mas_lambda=3.0, mas_examples=31, **SGD)


def test_l2_sp() -> None:
    assert_agrees(loops.WithL2SP, "l2-sp", l2_sp_lambda=0.3, **SGD)


@pytest.mark.parametrize("cut", ["zero", "none"])
def test_si(cut: str) -> None:
    assert_agrees(loops.WithSI, "si", si_c=20.0, si_damping=0.1, si_cut=cut, **SGD)


@pytest.mark.parametrize("mode", ["reservoir", "class-balanced"])
@pytest.mark.parametrize("scenario", ["task-il", "class-il"])
def test_replay(scenario: Scenario, mode: str) -> None:
    given: dict[str, Value] = {"replay_buffer": 40, "replay_ratio": 0.4, "replay_mode": mode}
    plain = assert_agrees(loops.WithReplay, "replay", scenario, **given)
    assert len(plain.module) == 40


@pytest.mark.parametrize(
    "optimizer",
    [{"optimizer": "adam"}, {**SGD, "weight_decay": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1}],
    ids=lambda given: given["optimizer"],
)
@pytest.mark.parametrize("schedule", ["constant", "equal"])
def test_packnet(schedule: str, optimizer: dict[str, Value]) -> None:
    """With decay too: of the outputs, which torch's optimizers would all decay, those of other tasks are held."""
    assert_agrees(loops.WithPackNet, "packnet", packnet_rate=0.6, packnet_schedule=schedule, **optimizer)


@pytest.mark.parametrize("weighting", ["by-task", "constant"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lwf(scenario: Scenario, weighting: str) -> None:
    assert_agrees(loops.WithLwF, "lwf", scenario, lwf_alpha=0.8, lwf_temperature=1.7, lwf_weighting=weighting, **SGD)


def test_lwf_among_the_old_classes_alone() -> None:
    assert_agrees(loops.WithLwF, "lwf", "class-il", lwf_classes="old", **SGD)
