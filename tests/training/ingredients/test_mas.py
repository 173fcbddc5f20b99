"""Buffer aware synapses by hand, and against one example after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cfsweep.config import NetworkConfig, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop
from cfsweep.testing.packs import CNN, MLP, UNLIFTABLE, finish, make_pack, small_stream
from cfsweep.training import batches
from cfsweep.training.ingredients.mas import MAS
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Task
from tests.training.helpers import assert_agrees, random_examples, sensitivity_by_hand

VALUES = {"mas_lambda": torch.tensor(0.5)}


def mas_of(network: NetworkConfig = MLP, **given: Value) -> tuple[MAS, Pack]:
    pack = make_pack(small_stream(), ("mas",), network=network, **given)
    (mas,) = pack.context.ingredients
    assert isinstance(mas, MAS)
    return mas, pack


def test_by_hand() -> None:
    """Ω = (1, 2) of one task and (3, 0) of the next add up to (4, 2), around the weights after the latter, (1, -1).

    λ = ½, θ = (2, 2): the penalty ½·(4·1² + 2·3²) = 11 has the gradient 2·½·(4·1, 2·3) = (4, 6).
    """
    mas, _ = mas_of()
    state = mas.initial_state(torch.zeros(2))
    for importance, theta in (([1.0, 2.0], [5.0, 5.0]), ([3.0, 0.0], [1.0, -1.0])):
        context = replace(mas.context, output_sensitivity=lambda *_, i=importance: torch.tensor(i))
        mas.context = context
        state = mas.consolidate(torch.tensor(theta), state, VALUES, 0, random_examples(1))
    assert state["importance"].tolist() == [4.0, 2.0]
    assert state["anchor"].tolist() == [1.0, -1.0]
    assert mas.gradient(torch.tensor([2.0, 2.0]), state, VALUES).tolist() == [4.0, 6.0]


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_penalty(seed: int) -> None:
    torch.manual_seed(seed)
    importance, anchor = torch.rand(50), torch.randn(50)
    theta = torch.randn(50, requires_grad=True)
    (expected,) = torch.autograd.grad(0.5 * (importance * (theta - anchor).square()).sum(), theta)
    found = mas_of()[0].gradient(theta.detach(), {"importance": importance, "anchor": anchor}, VALUES)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("network", [MLP, CNN, UNLIFTABLE], ids=lambda network: network.name)
def test_importance_is_the_mean_of_absolute_per_example_gradients(network: NetworkConfig) -> None:
    mas, pack = mas_of(network)
    module = pack.context.lifted.module.eval()
    torch.manual_seed(5)
    for seed in range(3):
        theta = 0.2 * torch.randn(pack.context.layout.size)
        examples = random_examples(11, seed)
        expected = sensitivity_by_hand(module, pack.context.layout, theta, examples.x, examples.mask)
        old = torch.rand(pack.context.layout.size)
        state = mas.consolidate(theta, {"importance": old, "anchor": old}, VALUES, 1, examples)
        torch.testing.assert_close(state["importance"] - old, expected, rtol=2e-4, atol=1e-6)
        assert torch.equal(state["anchor"], theta)


def test_labels_have_no_say() -> None:
    mas, pack = mas_of()
    theta, examples = torch.randn(pack.context.layout.size), random_examples(9)
    other = examples._replace(labels=torch.zeros_like(examples.labels))
    assert not torch.equal(examples.labels, other.labels)
    one, two = (mas.consolidate(theta, mas.initial_state(theta), VALUES, 0, s)["importance"] for s in (examples, other))
    assert torch.equal(one, two)


class PlainMAS(PlainLoop):
    def start(self) -> None:
        self.importance = self.zeros()

    def penalty(self) -> Tensor:
        return float(self.values["mas_lambda"]) * self.quadratic(self.importance, self.centre)

    def end_task(self, number: int, task: Task) -> None:
        self.centre = self.weights()
        n = min(int(self.values["mas_examples"]) or len(task.train), len(task.train))
        chosen, _, _ = batches.examples_to_consolidate([self.run], task.train, number, n, 0)
        for index in chosen[0]:
            self.network.zero_grad()
            self.network(self.x[index : index + 1])[0, self.active(number, number + 1)].square().sum().backward()
            for name, gradient in self.gradients().items():
                self.importance[name] += gradient.abs() / n


@pytest.mark.parametrize(
    ("scenario", "seed", "given"),
    [
        ("task-il", 0, {"optimizer": "sgd", "lr": 0.01, "mas_lambda": 0.5, "mas_examples": 30}),
        ("class-il", 1, {"optimizer": "sgd", "lr": 0.01, "mas_lambda": 0.1, "mas_examples": 0}),
        ("domain-il", 2, {"optimizer": "adam", "lr": 3e-3, "mas_lambda": 0.1, "mas_examples": 500}),
    ],
)
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int, given: dict[str, Value]) -> None:
    assert_agrees(PlainMAS, "mas", scenario, seed, **given)


def test_a_weight_that_the_outputs_do_not_feel_is_free() -> None:
    """Outputs that are inactive in a task get no importance from it."""
    mas, pack = mas_of()
    examples = random_examples(11)._replace(mask=torch.tensor([True, True, False, False, False, False]).expand(11, 6))
    theta = torch.randn(pack.context.layout.size)
    importance = mas.consolidate(theta, mas.initial_state(theta), VALUES, 0, examples)["importance"]
    for where, is_active in pack.context.layout.head_rows(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])):
        assert (importance[where][is_active == 0] == 0).all()
        assert (importance[where][is_active == 1] > 0).any()


def test_what_it_keeps_and_says() -> None:
    mas, pack = mas_of()
    assert finish(pack).records[0].stored_bytes == 2 * 4 * pack.context.layout.size
    assert str(pack.report().penalty_convention).startswith("lambda * sum Omega (theta - theta*)^2, ")
    assert mas.n_examples(1000) == 7
    assert mas.n_examples(5) == 5
    assert mas_of(mas_examples=0)[0].n_examples(1000) == 1000


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("mas_lambda", -1.0, "0 <= mas_lambda"),
        ("mas_lambda", float("inf"), "0 <= mas_lambda"),
        ("mas_examples", -1, "0 <= mas_examples, a whole number"),
        ("mas_examples", 1.5, "0 <= mas_examples, a whole number"),
    ],
)
def test_bad_values_are_refused(name: str, value: object, rule: str) -> None:
    hyper = next(hyper for hyper in MAS.hypers if hyper.name == name)
    with pytest.raises(InputError, match=rf"^here: `{rule}` must hold, but got {name}="):
        hyper.check(value, "here")
