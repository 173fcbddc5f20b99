"""LwF: its loss by hand and by the definition, whole runs against a plain loop, an old network that leaves no trace."""

from __future__ import annotations

import copy
import math
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cfsweep.config import SCENARIOS, NetworkConfig, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing import PlainLoop, finish, make_pack, small_stream, twins_agree, values_of
from cfsweep.testing.packs import UNLIFTABLE, assert_same, restored, weights
from cfsweep.training.ingredients import Answers, Comparison
from cfsweep.training.ingredients.lwf import LwF
from cfsweep.training.losses import Losses
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from tests.training.helpers import NETWORK, few_digits

# Li & Hoiem's form, in which the loss stands alone.
CONSTANT: dict[str, Value] = {"lwf_weighting": "constant"}


@cache
def lwf_of(scenario: Scenario = "task-il", **given: Value) -> LwF:
    (ingredient,) = make_pack(small_stream(), ("lwf",), scenario=scenario, **given).context.ingredients
    assert isinstance(ingredient, LwF)
    return ingredient


def numbers(alpha: float, temperature: float) -> dict[str, Tensor]:
    return {"lwf_alpha": torch.tensor(alpha), "lwf_temperature": torch.tensor(temperature)}


def compared(now: Tensor, before: Tensor) -> Comparison:
    n, n_outputs = now.shape
    labels, mask = torch.zeros(n, dtype=torch.int64), torch.ones(n, n_outputs, dtype=torch.bool)
    return Comparison(labels, mask, Answers(now, {}), Answers(before, {}))


# ------------------------------------------------------------------------------------------------------- the loss

BEFORE = torch.tensor([[2 * math.log(3.0), 0.0, 5.0, 5.0, 7.0, -7.0]] * 2)
NOW = torch.tensor([[4.0, 4.0, 1.0, 1.0, 9.0, 3.0], [0.0, 2 * math.log(3.0), 8.0, 8.0, 2.0, 6.0]])


def test_loss_by_hand_task_il() -> None:
    """At T = 2 the old answers of task 0 are (3/4, 1/4); now they are (1/2, 1/2) and (1/4, 3/4), with the
    cross-entropies log 2 and 3/4 log 4 + 1/4 log 4/3 = log 4 - 1/4 log 3. Task 1: (1/2, 1/2) on all sides, log 2.
    The outputs of task 2 are new and have no say."""
    mean = (math.log(2) + math.log(4) - math.log(3) / 4) / 2
    lwf, values = lwf_of(**CONSTANT), numbers(0.5, 2.0)
    first = lwf.distillation_loss(compared(NOW, BEFORE), values, 1)
    assert first.item() == pytest.approx(0.5 * 4 * mean, rel=1e-6)
    second = lwf.distillation_loss(compared(NOW, BEFORE), values, 2)
    assert second.item() == pytest.approx(0.5 * 4 * (mean + math.log(2)), rel=1e-6)


def test_loss_by_hand_class_il_and_domain_il() -> None:
    """class-il after two tasks: one group of four, all alike before and now: log 4, whatever the last two say. Where
    the two new ones compete, and are like the others: log 6."""
    alike = torch.tensor([[3.0, 3.0, 3.0, 3.0, 50.0, -50.0]])
    old = lwf_of("class-il", lwf_classes="old", **CONSTANT)
    loss = old.distillation_loss(compared(alike + 1, alike), numbers(1.0, 5.0), 2)
    assert loss.item() == pytest.approx(25 * math.log(4), rel=1e-6)
    seen = lwf_of("class-il", lwf_classes="seen", **CONSTANT)
    loss = seen.distillation_loss(compared(torch.full((1, 6), 4.0), alike), numbers(1.0, 5.0), 2)
    assert loss.item() == pytest.approx(25 * math.log(6), rel=1e-6)
    mean = (math.log(2) + math.log(4) - math.log(3) / 4) / 2
    for task in (1, 2):
        lwf, given = lwf_of("domain-il", **CONSTANT), compared(NOW[:, :2], BEFORE[:, :2])
        assert lwf.distillation_loss(given, numbers(0.5, 2.0), task).item() == pytest.approx(2 * mean, rel=1e-6)


def test_weighting_by_hand() -> None:
    """By task, after two of them at α = 1: a third of the batch's loss, two thirds of 4 times the mean of the groups
    above. At α = 1/2 the shares are a half each; constant: 1 and 1."""
    mean = (math.log(2) + math.log(4) - math.log(3) / 4) / 2
    lwf = lwf_of(lwf_weighting="by-task")
    for alpha, new in ((1.0, 1 / 3), (0.5, 1 / 2), (2.0, 1 / 5)):
        values = numbers(alpha, 2.0)
        loss = lwf.distillation_loss(compared(NOW, BEFORE), values, 2)
        assert loss.item() == pytest.approx(4 * (mean + math.log(2)) / 2, rel=1e-6)
        assert [x.item() for x in lwf.loss_shares(values, 2)] == [pytest.approx(new), pytest.approx(1 - new)]
    assert [x.item() for x in lwf_of(**CONSTANT).loss_shares(numbers(0.5, 2.0), 2)] == [1.0, 1.0]


# The outputs that answered together, and those among which they are to.
GROUPS = {
    ("task-il", 1, "seen"): [([0, 1], [0, 1])],
    ("task-il", 2, "seen"): [([0, 1], [0, 1]), ([2, 3], [2, 3])],
    ("task-il", 2, "old"): [([0, 1], [0, 1]), ([2, 3], [2, 3])],
    ("class-il", 1, "seen"): [([0, 1], [0, 1, 2, 3])],
    ("class-il", 2, "seen"): [([0, 1, 2, 3], [0, 1, 2, 3, 4, 5])],
    ("class-il", 1, "old"): [([0, 1], [0, 1])],
    ("class-il", 2, "old"): [([0, 1, 2, 3], [0, 1, 2, 3])],
    ("domain-il", 1, "seen"): [([0, 1], [0, 1])],
    ("domain-il", 2, "seen"): [([0, 1], [0, 1])],
    ("domain-il", 2, "old"): [([0, 1], [0, 1])],
}
Groups = list[tuple[list[int], list[int]]]


def slow(now: Tensor, before: Tensor, groups: Groups, alpha: float, temperature: float, kl: bool) -> Tensor:
    """The paper's equations in its own form, one example and one output at a time: p^(1/T), normalised."""
    total = now.new_zeros(())
    for z, old in zip(now, before, strict=True):
        for group, among in groups:
            p_old, p_now = torch.softmax(old[group], 0), torch.softmax(z[among], 0)
            p_old, p_now = (p ** (1 / temperature) / (p ** (1 / temperature)).sum() for p in (p_old, p_now))
            for i in range(len(group)):
                total = total - p_old[i] * (torch.log(p_now[i]) - (torch.log(p_old[i]) if kl else 0.0))
    return alpha * temperature**2 * total / len(now)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scenario", "task", "classes"), list(GROUPS), ids=str)
def test_loss_and_gradient_are_those_of_the_definition(scenario: Scenario, task: int, classes: str, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    n_outputs = 2 if scenario == "domain-il" else 6
    now, before = (3 * torch.randn(7, n_outputs, generator=rng) for _ in range(2))
    alpha, temperature = (0.1 + 2 * torch.rand(2, generator=rng)).tolist()
    now = now.requires_grad_(True)
    lwf = lwf_of(scenario, lwf_classes=classes, **CONSTANT)
    loss = lwf.distillation_loss(compared(now, before), numbers(alpha, temperature), task)
    (gradient,) = torch.autograd.grad(loss, now)
    exact = now.detach().double().requires_grad_(True)
    groups = GROUPS[scenario, task, classes]
    for kl in (False, True):
        expected = slow(exact, before.double(), groups, alpha, temperature, kl)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, exact)[0].float(), rtol=1e-4, atol=1e-5)
        if not kl:
            torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    outside = sorted(set(range(n_outputs)) - {i for _, among in groups for i in among})
    assert not gradient[:, outside].any()
    mean = lwf_of(scenario, lwf_classes=classes).distillation_loss(
        compared(now, before), numbers(alpha, temperature), task
    )
    torch.testing.assert_close(mean * alpha * len(groups), loss)


def test_the_factor_keeps_the_gradient_as_large_when_the_temperature_moves() -> None:
    """Hinton et al. 2015, eq. 4: for a large T it is (z - v)/k among k outputs, each less its mean, whatever T."""
    now, before = torch.randn(1, 6).requires_grad_(True), torch.randn(1, 6)
    for temperature in (300.0, 1000.0):
        lwf = lwf_of("class-il", lwf_classes="old")
        loss = lwf.distillation_loss(compared(now, before), numbers(1.0, temperature), 2)
        (gradient,) = torch.autograd.grad(loss, now)
        z, v = now.detach()[:, :4], before[:, :4]
        expected = ((z - z.mean()) - (v - v.mean())) / 4
        torch.testing.assert_close(gradient[:, :4], expected, rtol=2e-2, atol=5e-3)


def test_nothing_pulls_where_nothing_has_changed() -> None:
    logits = (4 * torch.randn(5, 6)).requires_grad_(True)
    loss = lwf_of().distillation_loss(compared(logits, logits.detach()), numbers(3.0, 1.5), 2)
    assert torch.autograd.grad(loss, logits)[0].abs().max() < 1e-6


@pytest.mark.parametrize("weighting", ["by-task", "constant"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_off_adds_nothing_to_any_logits(scenario: Scenario, weighting: str) -> None:
    huge = torch.tensor([[3e38, -3e38, 1e30, 0.0, torch.inf, -torch.inf]])[:, : 2 if scenario == "domain-il" else 6]
    now = huge.clone().requires_grad_(True)
    lwf, values = lwf_of(scenario, lwf_weighting=weighting), numbers(0.0, 1e-3)
    of_batch, own = lwf.loss_shares(values, 2)
    loss = own * lwf.distillation_loss(compared(now, huge.flip(1)), values, 2)
    assert of_batch.item() == 1.0
    assert loss.item() == 0.0
    assert torch.equal(torch.autograd.grad(loss, now)[0], torch.zeros_like(now))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("lwf_alpha", -0.1, "0 <= lwf_alpha"),
        ("lwf_alpha", float("inf"), "0 <= lwf_alpha"),
        ("lwf_temperature", 0.0, "0 < lwf_temperature"),
        ("lwf_temperature", -2.0, "0 < lwf_temperature"),
        ("lwf_temperature", "hot", "0 < lwf_temperature"),
        ("lwf_classes", "new", "lwf_classes` must be one of seen, old"),
        ("lwf_weighting", 1, "lwf_weighting` must be one of by-task, constant"),
    ],
)
def test_bad_values(name: str, value: Value, rule: str) -> None:
    (hyper,) = (h for h in LwF.hypers if h.name == name)
    with pytest.raises(InputError, match=f"space.yaml: `{rule}.*, but got {name}="):
        hyper.check(value, "space.yaml")


# ------------------------------------------------------------------------------------------------------ whole runs


class PlainLwF(PlainLoop):
    """A copy of the network at the start of a task answers beside it."""

    def train_task(self, number: int) -> None:
        self.before = copy.deepcopy(self.network)
        super().train_task(number)

    def batch_loss(self, indices: NDArray[np.int64], learned: int) -> Tensor:
        loss, n_old = super().batch_loss(indices, learned), learned - 1
        if n_old == 0:
            return loss
        alpha, temperature = float(self.values["lwf_alpha"]), float(self.values["lwf_temperature"])
        with torch.no_grad():
            old = self.before(self.x[indices])
        now, apart = self.network(self.x[indices]), []
        for task in range(n_old) if self.scenario == "task-il" else [0]:
            group = self.active(task, n_old)
            among = self.active(task, learned) if self.values["lwf_classes"] == "seen" else group
            p = torch.zeros(len(indices), len(among))
            p[:, [among.index(c) for c in group]] = torch.softmax(old[:, group] / temperature, 1)
            log_q = torch.log_softmax(now[:, among] / temperature, 1)
            apart.append(temperature**2 * nn.functional.kl_div(log_q, p, reduction="batchmean"))
        if self.values["lwf_weighting"] == "constant":
            return loss + alpha * torch.stack(apart).sum()
        return (loss + alpha * n_old * torch.stack(apart).mean()) / (1 + alpha * n_old)


@pytest.mark.parametrize("weighting", ["by-task", "constant"])
@pytest.mark.parametrize("classes", ["seen", "old"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whole_run_is_that_of_a_plain_loop(scenario: Scenario, classes: str, weighting: str) -> None:
    """With SGD: a task's first gradient of the old outputs is zero up to rounding, of which Adam makes whole steps."""
    given: dict[str, Value] = {"epochs": 2, "batch_size": 32, "optimizer": "sgd", "lr": 0.02}
    given |= {"lwf_classes": classes, "lwf_weighting": weighting}
    run = RunSpec(0, 3, values_of(("lwf",), **given, lwf_alpha=0.8, lwf_temperature=1.7))
    twins_agree(("lwf",), PlainLwF, few_digits(), run, scenario, NETWORK, atol=2e-6)


def change_of_old_answers(alpha: float) -> float:
    """How far the answers of task 0's outputs to the examples of task 1 move while task 1 is learned."""
    stream = small_stream(n_tasks=2)
    pack = make_pack(stream, ("lwf",), lwf_alpha=alpha, optimizer="sgd", lr=0.02, epochs=10)
    x = pack.context.store[torch.from_numpy(stream.tasks[1].train)].unsqueeze(0)

    def answers() -> Tensor:
        return torch.softmax(pack.context.lifted(pack.context.layout.unflatten(pack.stack.theta), x)[..., :2], -1)

    pack.train_next_task()
    before = answers()
    pack.train_next_task()
    return float((answers() - before).abs().mean())


def test_a_larger_alpha_keeps_more() -> None:
    changes = [change_of_old_answers(alpha) for alpha in (0.0, 0.1, 0.3, 1.0)]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 4 * changes[-1]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_old_outputs_move_only_where_it_is_on(alpha: float) -> None:
    pack = make_pack(small_stream(), ("lwf",), lwf_alpha=alpha, weight_decay=0.01)
    pack.train_next_task()
    old = pack.context.layout.unflatten(pack.stack.theta.clone())
    pack.train_next_task()
    now = pack.context.layout.unflatten(pack.stack.theta)
    for name in ("head.weight", "head.bias"):
        assert torch.equal(old[name][0, :2], now[name][0, :2]) == (alpha == 0)
        assert not torch.equal(old[name][0, 2:4], now[name][0, 2:4])
        assert torch.equal(old[name][0, 4:], now[name][0, 4:])
    assert pack.records[0].stored_bytes == (4 * pack.context.layout.size if alpha else 0)
    assert torch.equal(pack.stack.states["lwf"]["old"], pack.stack.theta)


# ------------------------------------------------------------------------- the old network, of one's own kind


class Noisy(nn.Module):
    """It draws random numbers wherever it is called, in evaluation too."""

    def __init__(self, n: int, n_outputs: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(n, 8), nn.Linear(8, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x.flatten(1))
        out: Tensor = self.head(torch.relu(hidden + 0.1 * torch.randn_like(hidden)))
        return out


def noisy(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Noisy(int(np.prod(input_shape)), n_outputs)


@pytest.mark.parametrize(
    "network",
    [UNLIFTABLE, NetworkConfig(name="tests.training.ingredients.test_lwf:noisy")],
    ids=["unliftable", "noisy"],
)
def test_an_idle_old_network_leaves_no_trace(network: NetworkConfig) -> None:
    def trained(*names: str, **given: Value) -> Pack:
        return finish(make_pack(small_stream(), names, network=network, batch_size=6, scenario="class-il", **given))

    naive, off, on = trained(), trained("lwf", lwf_alpha=0.0), trained("lwf", lwf_alpha=1.0)
    if network is UNLIFTABLE:
        assert_same(naive, off)
    else:  # evaluation draws too, so only the weights are comparable
        assert torch.equal(weights(naive), weights(off))
    for one, other in zip(naive.context.lifted.module.buffers(), off.context.lifted.module.buffers(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(weights(naive), weights(on))


def test_the_old_network_answers_as_it_did_statistics_included() -> None:
    pack = make_pack(small_stream(), ("lwf",), network=UNLIFTABLE, batch_size=6)
    pack.train_next_task()
    module = pack.context.lifted.module
    x = pack.context.store[torch.from_numpy(pack.stream.tasks[1].train[:9])].unsqueeze(0)
    module.eval()
    expected = pack.context.lifted(pack.context.layout.unflatten(pack.stack.theta), x).detach()
    losses = Losses.of(
        pack.context, pack.stack, 1, torch.zeros(1, 1, 10, dtype=torch.int64), torch.ones(1, 3, dtype=torch.bool)
    )
    with torch.no_grad():  # training goes on
        module.get_buffer("2.running_mean").add_(1.0)
        pack.stack.theta.add_(0.1)
    module.train()
    buffers, random = [b.clone() for b in module.buffers()], torch.get_rng_state()
    answers = losses._before(pack.context.ingredients[0], x)
    assert answers is not None
    assert torch.equal(answers.logits, expected)
    assert module.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, module.buffers(), buffers))


def test_the_statistics_are_kept_when_a_run_is_restored() -> None:
    stream = small_stream()
    whole = finish(make_pack(stream, ("lwf",), network=UNLIFTABLE, batch_size=6, lwf_alpha=1.0))
    pack = make_pack(stream, ("lwf",), network=UNLIFTABLE, batch_size=6, lwf_alpha=1.0)
    pack.train_next_task()
    assert_same(finish(restored(pack)), whole)


def test_in_class_il_the_old_classes_live_on_only_where_the_student_answers_among_all() -> None:
    """The share of the examples of old tasks that are answered with some old class."""
    stream, learned = small_stream(), {}
    for classes in ("seen", "old"):
        given: dict[str, Value] = {"lwf_classes": classes, "epochs": 10}
        pack = finish(make_pack(stream, ("lwf",), scenario="class-il", **given))
        indices = torch.from_numpy(np.concatenate([task.test for task in stream.tasks[:2]]))
        x = pack.context.store[indices].unsqueeze(0)
        said = pack.context.lifted(pack.context.layout.unflatten(pack.stack.theta), x)[0].argmax(-1)
        learned[classes] = float((said < 4).float().mean())
    assert learned["old"] < learned["seen"]
