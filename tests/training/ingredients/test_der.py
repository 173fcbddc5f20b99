"""DER++: its squared error by hand, a whole run against a plain loop, and which logits are kept."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import assert_same
from cfsweep.training.ingredients import Drawn, registry
from cfsweep.training.ingredients.der import DerPlusPlus, squared_error
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Task
from tests.training.helpers import PlainReservoir

INACTIVE = -torch.inf


@cache
def der(scenario: Scenario = "task-il") -> DerPlusPlus:
    (ingredient,) = make_pack(small_stream(), ("der++",), scenario=scenario).context.ingredients
    assert isinstance(ingredient, DerPlusPlus)
    return ingredient


def test_squared_error_by_hand() -> None:
    """Active outputs: (1-3)² and (2-2)², mean 2; and (0-1)², (0-2)², (5-1)², mean 7. Together 4.5."""
    logits = torch.tensor([[1.0, 2.0, 9.0], [0.0, 0.0, 5.0]], requires_grad=True)
    kept = torch.tensor([[3.0, 2.0, INACTIVE], [1.0, 2.0, 1.0]])
    error = squared_error(logits, kept)
    assert error.item() == 4.5
    (gradient,) = torch.autograd.grad(error, logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 0.0, 0.0], [-1 / 3, -2 / 3, 4 / 3]]))


def test_replay_loss_by_hand() -> None:
    """α·4 from the first half, β·log 2 from the second one."""
    logits = torch.tensor([[3.0, 1.0], [0.5, 0.5]])
    stored = torch.tensor([[1.0, -1.0], [70.0, 80.0]])
    drawn = Drawn(torch.tensor([0, 1]), torch.ones(2, 2, dtype=torch.bool), logits, stored)
    values = {"der_alpha": torch.tensor(0.5), "der_beta": torch.tensor(3.0), "der_buffer": torch.tensor(9.0)}
    assert der().replay_loss(drawn, values).item() == pytest.approx(0.5 * 4 + 3 * np.log(2), rel=1e-6)


class PlainDer(PlainReservoir):
    """A dict of stored logits; two draws beside each batch; one example at a time."""

    buffer_hyper = "der_buffer"

    def start(self) -> None:
        super().start()
        self.stored: dict[int, tuple[list[int], Tensor]] = {}

    def train_task(self, number: int) -> None:
        self.learned = number + 1
        self.drawn = self.draws(number, 2 * int(self.values["batch_size"]))
        super().train_task(number)

    def penalty(self) -> Tensor:
        drawn = [self.buffer[place] for place in self.drawn.pop(0)]
        half = len(drawn) // 2
        apart = []
        for index in drawn[:half]:
            active, logits = self.stored[index]
            apart.append(nn.functional.mse_loss(self.network(self.x[index : index + 1])[0, active], logits))
        labelled = self.batch_loss(np.array(drawn[half:]), self.learned)
        alpha, beta = float(self.values["der_alpha"]), float(self.values["der_beta"])
        return alpha * torch.stack(apart).mean() + beta * labelled

    def end_task(self, number: int, task: Task) -> None:
        super().end_task(number, task)
        for index in set(self.buffer) - set(self.stored):
            active = self.active(number, number + 1)
            self.stored[index] = active, self.network(self.x[index : index + 1])[0, active].detach()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seed", range(2))
def test_a_whole_run_is_that_of_a_plain_loop(scenario: Scenario, seed: int) -> None:
    given: dict[str, Value] = {"optimizer": "sgd", "lr": 0.02, "der_alpha": 0.7, "der_beta": 0.4, "der_buffer": 9}
    run = RunSpec(0, seed, values_of(("der++",), **given))
    pack, plain = twins_agree(("der++",), PlainDer, small_stream(seed=seed), run, scenario, atol=5e-6)
    assert isinstance(plain, PlainDer)
    buffer = pack.stack.buffers["der++"][0]
    assert buffer.indices.tolist() == plain.buffer
    assert buffer.logits is not None
    for index, logits in zip(plain.buffer, buffer.logits, strict=True):
        active, stored = plain.stored[index]
        assert np.flatnonzero(np.isfinite(logits)).tolist() == sorted(active)
        np.testing.assert_allclose(logits[active], stored.numpy(), atol=1e-5)
    assert pack.records[0].stored_bytes == 9 * 4 * (36 + pack.context.outputs.n_outputs)


def test_logits_stay_those_of_the_moment_an_example_was_stored() -> None:
    pack = make_pack(small_stream(), ("der++",), scenario="class-il", der_buffer=30)
    kept: dict[int, list[float]] = {}
    survived = 0
    while not pack.done:
        pack.train_next_task()
        buffer = pack.stack.buffers["der++"][0]
        assert buffer.logits is not None
        for index, logits in zip(buffer.indices.tolist(), buffer.logits.tolist(), strict=True):
            survived += index in kept
            assert kept.setdefault(index, logits) == logits
    assert survived >= 10


def finished(**given: Value) -> Pack:
    """With weight decay, which would move the outputs of old tasks if the drawn examples reached them."""
    return finish(make_pack(small_stream(), ("der++",), weight_decay=0.01, **given))


def test_without_weights_it_is_off_and_with_one_of_them_it_is_not() -> None:
    naive = finish(make_pack(small_stream(), weight_decay=0.01))
    assert_same(finished(der_alpha=0.0, der_beta=0.0), naive)
    for weights in ({"der_alpha": 0.0}, {"der_beta": 0.0}):
        assert not torch.equal(finished(**weights).stack.theta, naive.stack.theta)


@pytest.mark.parametrize(
    ("name", "value"), [("der_alpha", -0.1), ("der_beta", -1.0), ("der_buffer", -1), ("der_buffer", 0.5)]
)
def test_values_outside_the_rules_are_refused(name: str, value: float) -> None:
    hyper = next(hyper for hyper in registry["der++"].hypers if hyper.name == name)
    with pytest.raises(InputError, match=f"`0 <= {name}.* must hold, but got {name}={value}"):
        hyper.check(value, "space.yaml")
