"""Synaptic intelligence by hand, against a plain loop, and what its path integral promises."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, twins_agree
from cfsweep.testing.packs import finish, make_pack, small_stream, values_of, weights
from cfsweep.testing.plain import ByName
from cfsweep.training.ingredients import State
from cfsweep.training.ingredients.si import SI
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Task
from tests.training.helpers import NETWORK, assert_agrees, few_digits, random_examples

VALUES = {"si_c": torch.tensor(3.0), "si_damping": torch.tensor(0.1875)}


@cache
def si(cut: str = "zero") -> SI:
    (ingredient,) = make_pack(small_stream(), ("si",), si_cut=cut).context.ingredients
    assert isinstance(ingredient, SI)
    return ingredient


def walk(
    state: State, theta: Tensor, steps: list[tuple[list[float], list[float]]], cut: str = "zero"
) -> tuple[Tensor, State]:
    """A task of the given (gradient, Δθ) of each step, and the beginning of the next one."""
    for gradient, change in steps:
        after = theta + torch.tensor(change)
        state = {**state, **si().observe_step(torch.tensor(gradient), theta, after, state, VALUES)}
        theta = after
    state = si().consolidate(theta, state, VALUES, 0, random_examples(1))
    return si(cut).start_task(theta, state, VALUES, 1)


def test_by_hand() -> None:
    """Four weights from (0, 1, 2, 0), ξ = 0.1875.

    The first moves by -0.5 against the slope 2, then by -0.25 along the slope -1: ω = 1 - 0.25 = 0.75, Δ² = 0.5625,
    Ω = 0.75 / 0.75 = 1. The second moves by 0.5 up the slope 2: ω = -1, cut off at 0. The third stays. The fourth does
    as the first. At the distance 2 from the anchor and c = 3 a weight of Ω = 1 has the gradient 2·3·1·2 = 12.
    """
    start = torch.tensor([0.0, 1.0, 2.0, 0.0])
    steps = [([2.0, 2.0, 5.0, 2.0], [-0.5, 0.5, 0.0, -0.5]), ([-1.0, 0.0, 5.0, -1.0], [-0.25, 0.0, 0.0, -0.25])]
    theta, state = walk(si().initial_state(start), start, steps)
    assert state["importance"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert state["anchor"].tolist() == [-0.75, 1.5, 2.0, -0.75]
    assert state["path"].tolist() == [0.0, 0.0, 0.0, 0.0]
    assert si().gradient(theta + 2, state, VALUES).tolist() == [12.0, 0.0, 0.0, 12.0]

    # A second task: ω = (-1, 0.375, 0, 0.375) over Δ² + ξ = (0.4375, 0.25, 0.1875, 0.25) comes on top.
    theta, state = walk(state, theta, [([2.0, -1.5, 0.0, -1.5], [0.5, 0.25, 0.0, 0.25])])
    assert state["importance"].tolist() == [0.0, 1.5, 0.0, 2.5]
    assert state["anchor"].tolist() == [-0.25, 1.75, 2.0, -0.5]


def test_without_the_cut_by_hand() -> None:
    """The weights and steps of above: the second one's ω = -1 over Δ² + ξ = 0.25 + 0.1875 is Ω = -16/7, and pushes it
    away, by 2·3·(-16/7)·2 = -192/7 at the distance 2. In the second task 0.375 / 0.25 comes on top, and the first one's
    -1 / 0.4375 leaves it at 1 - 16/7."""
    start = torch.tensor([0.0, 1.0, 2.0, 0.0])
    steps = [([2.0, 2.0, 5.0, 2.0], [-0.5, 0.5, 0.0, -0.5]), ([-1.0, 0.0, 5.0, -1.0], [-0.25, 0.0, 0.0, -0.25])]
    theta, state = walk(si().initial_state(start), start, steps, "none")
    torch.testing.assert_close(state["importance"], torch.tensor([1.0, -16 / 7, 0.0, 1.0]))
    away = si("none").gradient(theta + 2, state, VALUES)
    torch.testing.assert_close(away, torch.tensor([12.0, -192 / 7, 0.0, 12.0]))
    theta, state = walk(state, theta, [([2.0, -1.5, 0.0, -1.5], [0.5, 0.25, 0.0, 0.25])], "none")
    torch.testing.assert_close(state["importance"], torch.tensor([-9 / 7, -11 / 14, 0.0, 2.5]))


@pytest.mark.parametrize("lowest", [0.0, -float("inf")], ids=["zero", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_importance_over_random_walks_is_that_of_each_weight_alone(seed: int, lowest: float) -> None:
    """Gradients and steps that have nothing to do with each other: many a path integral is negative."""
    torch.manual_seed(seed)
    tasks = torch.randn(4, 3, 2, 30)  # tasks, steps, (gradient, change), weights
    theta = torch.randn(30)
    expected, cut = [], 0
    for k in range(30):
        importance, xi = 0.0, 0.1875
        for task in tasks[..., k].tolist():
            path, moved = 0.0, 0.0
            for gradient, change in task:
                path -= gradient * change
                moved += change
            cut += importance + path / (moved**2 + xi) < 0
            importance = max(lowest, importance + path / (moved**2 + xi))
        expected.append(importance)
    state = si().initial_state(theta)
    for task in tasks.tolist():
        steps = [(gradient, change) for gradient, change in task]
        theta, state = walk(state, theta, steps, "zero" if lowest == 0 else "none")
    assert 10 < cut < 110
    torch.testing.assert_close(state["importance"], torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_penalty(seed: int) -> None:
    torch.manual_seed(seed)
    importance, anchor = torch.rand(50), torch.randn(50)
    theta = torch.randn(50, requires_grad=True)
    (expected,) = torch.autograd.grad(3.0 * (importance * (theta - anchor).square()).sum(), theta)
    state = {"importance": importance, "anchor": anchor}
    torch.testing.assert_close(si().gradient(theta.detach(), state, VALUES), expected)


class PlainSI(PlainLoop):
    """Eq. 3 to 5 step by step; Ω is brought up to date as soon as a task ends."""

    def start(self) -> None:
        self.path, self.importance, self.centre = self.zeros(), self.zeros(), self.weights()

    def note(self, gradients: ByName, before: ByName) -> None:
        for name, p in self.network.named_parameters():
            self.path[name] -= gradients[name] * (p.detach() - before[name])

    def penalty(self) -> Tensor:
        return float(self.values["si_c"]) * self.quadratic(self.importance, self.centre)

    def end_task(self, number: int, task: Task) -> None:
        for name, p in self.weights().items():
            total = (p - self.centre[name]) ** 2 + float(self.values["si_damping"])
            self.importance[name] = self.importance[name] + self.path[name] / total
            if self.values["si_cut"] == "zero":
                self.importance[name] = torch.relu(self.importance[name])
        self.path, self.centre = self.zeros(), self.weights()


@pytest.mark.parametrize(
    ("scenario", "seed", "given"),
    [
        ("task-il", 0, {"optimizer": "sgd", "lr": 0.02, "si_c": 20.0, "si_damping": 0.1}),
        ("class-il", 1, {"optimizer": "sgd", "lr": 0.02, "si_c": 1.0, "si_damping": 1e-2}),
        ("domain-il", 2, {"optimizer": "adam", "lr": 3e-3, "si_c": 10.0, "si_damping": 0.1}),
    ],
)
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, given: dict[str, Value]) -> None:
    assert_agrees(PlainSI, "si", scenario, seed, **given)


DECAYED: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "weight_decay": 0.1, "si_c": 100.0, "si_damping": 0.1}


def test_where_weights_decay_the_cut_decides_and_both_runs_are_those_of_a_plain_loop() -> None:
    """Decay moves weights against their slope. In domain-il all outputs are active, so torch.optim decays them too."""
    ends = {}
    for cut in ("zero", "none"):
        run = RunSpec(0, 4, values_of(("si",), batch_size=16, **{**DECAYED, "si_cut": cut}))
        ends[cut], _ = twins_agree(("si",), PlainSI, few_digits(), run, "domain-il", NETWORK)
    assert (weights(ends["zero"]) - weights(ends["none"])).abs().max() > 1e-3
    share = {cut: float((pack.stack.states["si"]["importance"] < 0).float().mean()) for cut, pack in ends.items()}
    assert share["zero"] == 0 < share["none"]


@pytest.mark.parametrize("seed", range(5))
def test_momentum_from_rest_leaves_no_path_integral_negative(seed: int) -> None:
    """Whatever the gradients: what the docstring says of the cut."""
    draw = torch.Generator().manual_seed(seed)
    for momentum in (0.0, 0.5, 0.9, 0.99):
        theta, velocity = torch.zeros(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
        state = {"path": torch.zeros(40, dtype=torch.float64)}
        for _ in range(60):
            gradient = torch.randn(40, generator=draw, dtype=torch.float64)
            velocity = momentum * velocity + gradient
            after = theta - 0.1 * velocity
            state, theta = si().observe_step(gradient, theta, after, state, VALUES), after
        assert (state["path"] > 0).all()


def test_the_path_integral_adds_up_to_the_fall_of_the_loss() -> None:
    """Page 3: the ω share the change of the loss among the weights. Gradient descent in small steps on ½Σ a θ²."""
    torch.manual_seed(0)
    slope, theta = torch.rand(20) + 0.5, torch.randn(20)
    ingredient = si()
    state = ingredient.initial_state(theta)
    fell = 0.5 * slope * theta.square()
    for _ in range(2000):
        gradient = slope * theta
        after = theta - 1e-3 * gradient
        state = {**state, **ingredient.observe_step(gradient, theta, after, state, VALUES)}
        theta = after
    fell = fell - 0.5 * slope * theta.square()
    torch.testing.assert_close(state["path"], fell, rtol=2e-3, atol=1e-6)


def test_each_run_walks_from_its_own_initial_weights() -> None:
    runs = tuple(RunSpec(k, seed, values_of(("si",))) for k, seed in enumerate((0, 1, 2)))
    pack = make_pack(small_stream(), ("si",), runs)
    start = weights(pack).clone()
    assert not torch.equal(start[0], start[1])
    pack.train_next_task()
    state = pack.stack.states["si"]
    assert torch.equal(state["moved"][torch.from_numpy(pack.stack.row_of)], weights(pack) - start)
    assert torch.equal(state["anchor"], pack.stack.theta)


def test_the_damping_has_no_say_before_the_first_task_has_ended() -> None:
    runs = tuple(RunSpec(k, 0, values_of(("si",), si_damping=xi, si_c=5.0)) for k, xi in enumerate((1e-3, 1.0)))
    pack = make_pack(small_stream(), ("si",), runs)
    pack.train_next_task()
    assert len(pack.stack) == 1, "the two share their first task"
    pack.train_next_task()
    small, large = pack.stack.states["si"]["importance"]
    assert (small >= large).all()
    assert small.sum() > 2 * large.sum()
    for run, theta in zip(runs, weights(finish(pack)), strict=True):
        alone = finish(make_pack(small_stream(), ("si",), (run,)))
        torch.testing.assert_close(weights(alone)[0], theta, rtol=1e-3, atol=1e-4)


def test_weights_that_no_loss_reaches_stay_without_importance() -> None:
    """In task-il the outputs of later tasks do not move: 0 / (0 + ξ) is 0."""
    pack = make_pack(small_stream(), ("si",), si_damping=1e-30)
    pack.train_next_task()
    inactive = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    pack.train_next_task()
    importance = pack.stack.states["si"]["importance"][0]
    assert torch.isfinite(importance).all()
    for where, is_inactive in pack.context.layout.head_rows(inactive):
        assert (importance[where][is_inactive == 1] == 0).all()
        assert (importance[where][is_inactive == 0] > 0).any()


def test_what_it_keeps_and_says() -> None:
    for cut, said in (("zero", "kept >= 0"), ("none", "also where negative")):
        pack = finish(make_pack(small_stream(), ("si",), si_cut=cut))
        assert pack.records[0].stored_bytes == 2 * 4 * pack.context.layout.size
        convention = str(pack.report().penalty_convention)
        assert convention.startswith("c * sum Omega (theta - theta*)^2, ")
        assert said in convention


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("si_c", -1.0, "0 <= si_c"),
        ("si_c", float("nan"), "0 <= si_c"),
        ("si_damping", 0.0, "0 < si_damping"),
        ("si_damping", -0.1, "0 < si_damping"),
        ("si_damping", float("inf"), "0 < si_damping"),
        ("si_damping", "small", "0 < si_damping"),
    ],
)
def test_bad_values_are_refused(name: str, value: object, rule: str) -> None:
    hyper = next(hyper for hyper in SI.hypers if hyper.name == name)
    with pytest.raises(InputError, match=rf"^here: `{rule}` must hold, but got {name}="):
        hyper.check(value, "here")
