"""What every built-in target must do: gradients are those of autograd, samples agree, the constant is the best one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cfsweep.errors import InputError
from cfsweep.training.streams import Stream, Task
from cfsweep.training.targets import Target, registry
from cfsweep.training.targets._amounts import Amounts

N, K = 40, 3


def labels_of(target: Target, n: int = N) -> Tensor:
    """Random labels, as `Outputs.labels` has them."""
    if target.has_classes:
        return torch.randint(0, K, (n,))
    return torch.randint(0, 2, (n, K)).float() if target.name == "multi-label" else torch.randn(n, K)


@pytest.fixture(params=sorted(registry))
def target(request: pytest.FixtureRequest) -> Target:
    torch.manual_seed(3)
    return registry[request.param]()


MASK = torch.ones(K, dtype=torch.bool)


def test_the_loss_is_the_mean_and_its_gradient_is_that_of_autograd(target: Target) -> None:
    outputs, labels = torch.randn(2, N, K, requires_grad=True), torch.stack([labels_of(target) for _ in range(2)])
    mean = target.losses(outputs, labels, MASK).mean(-1)
    (expected,) = torch.autograd.grad(mean.sum(), outputs)
    loss, gradient = target.loss_and_gradient(outputs.detach(), labels, MASK)
    assert loss.shape == (2,)
    torch.testing.assert_close(loss, mean.detach())
    torch.testing.assert_close(gradient, expected)


def test_so_is_that_of_the_likelihood(target: Target) -> None:
    outputs, labels = torch.randn(N, K, requires_grad=True), labels_of(target)
    likelihood = target.log_likelihood(outputs, labels, MASK)
    assert likelihood.shape == (N,)
    (expected,) = torch.autograd.grad(likelihood.sum(), outputs)
    torch.testing.assert_close(target.log_likelihood_gradient(outputs.detach(), labels, MASK), expected)


def test_the_likelihood_is_that_of_the_library(target: Target) -> None:
    """Up to a constant, of torch's own distributions."""
    outputs, labels = torch.randn(N, K), labels_of(target)
    found = target.log_likelihood(outputs, labels, MASK)
    by_torch = {
        "classification": lambda: torch.distributions.Categorical(logits=outputs).log_prob(labels),
        "multi-label": lambda: torch.distributions.Bernoulli(logits=outputs).log_prob(labels).sum(-1),
        "regression": lambda: torch.distributions.Normal(outputs, 1.0).log_prob(labels).sum(-1),
    }[target.name]()
    apart = found - by_torch
    torch.testing.assert_close(apart, apart[:1].expand(N), rtol=1e-4, atol=1e-5)


def test_a_prediction_is_the_likeliest_label(target: Target) -> None:
    outputs = torch.randn(N, K)
    likeliest = target.log_likelihood(outputs, target.predict(outputs, MASK), MASK)
    for _ in range(50):
        assert (target.log_likelihood(outputs, labels_of(target), MASK) <= likeliest + 1e-6).all()


def test_samples_come_as_often_as_the_outputs_say(target: Target) -> None:
    n = 20_000
    outputs = torch.tensor([0.3, -1.0, 0.8]).expand(n, K)
    shape = (n,) if target.has_classes else (n, K)
    drawn = target.sample(outputs, MASK, torch.rand(shape))
    mean = torch.bincount(drawn, minlength=K) / n if target.has_classes else drawn.mean(0)
    if target.name == "regression":
        torch.testing.assert_close(drawn.std(0), torch.ones(K), rtol=0, atol=0.02)
        torch.testing.assert_close(mean, outputs[0], rtol=0, atol=0.03)
    else:
        torch.testing.assert_close(mean, target.probabilities(outputs[:1], MASK)[0], rtol=0, atol=0.015)


def test_no_constant_answers_better(target: Target) -> None:
    labels = labels_of(target)
    best = target.losses(target.constant(labels, K).expand(N, K), labels, MASK).mean()
    for _ in range(100):
        assert target.losses(torch.randn(K).expand(N, K), labels, MASK).mean() >= best - 1e-6


# ------------------------------------------------------------------------------------------------ a head for each task


@pytest.fixture(params=[name for name, kind in registry.items() if issubclass(kind, Amounts)])
def kind(request: pytest.FixtureRequest) -> type[Amounts]:
    torch.manual_seed(4)
    found = registry[request.param]
    assert issubclass(found, Amounts)
    return found


def test_of_several_heads_the_one_of_an_example_counts_alone(kind: type[Amounts]) -> None:
    """Against the target without heads on that one's outputs; what the others say, and their labels, is nothing."""
    plain, heads = kind(), kind(heads=True)
    outputs, task = torch.randn(2, N, 3 * K, requires_grad=True), torch.randint(0, 3, (N,))
    labels = torch.stack([torch.cat([labels_of(plain) for _ in range(3)], 1) for _ in range(2)])
    mask = torch.eye(3).bool().repeat_interleave(K, 1)[task]
    of_head = task[:, None] * K + torch.arange(K)
    own, own_labels = (x.gather(-1, of_head.expand(2, N, K)) for x in (outputs, labels))
    torch.testing.assert_close(heads.losses(outputs, labels, mask), plain.losses(own, own_labels, MASK))
    loss, gradient = heads.loss_and_gradient(outputs.detach(), labels, mask)
    torch.testing.assert_close(loss, plain.loss_and_gradient(own.detach(), own_labels, MASK)[0])
    (expected,) = torch.autograd.grad(plain.losses(own, own_labels, MASK).mean(-1).sum(), outputs, retain_graph=True)
    torch.testing.assert_close(gradient, expected)
    assert not gradient[:, ~mask].any()
    likelihood = heads.log_likelihood(outputs, labels, mask)
    torch.testing.assert_close(likelihood, plain.log_likelihood(own, own_labels, MASK))
    (expected,) = torch.autograd.grad(likelihood.sum(), outputs)
    torch.testing.assert_close(heads.log_likelihood_gradient(outputs.detach(), labels, mask), expected)
    for score in kind.scores:
        answers = heads.answers(score, outputs.detach(), mask[:1])[..., :5, :]
        of_own = plain.answers(score, outputs.detach()[:, :5, mask[0]], MASK)
        found = heads.measured(score, answers, labels[0, :5], mask[0])
        assert torch.equal(found, score.of(of_own, labels[0, :5][:, mask[0]])) or bool(found.isnan().all())


def amounts_stream(target: str) -> Stream:
    """Two tasks and an example that is in none."""
    y = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    tasks = tuple(Task(str(k), (), np.array([k]), *np.empty((2, 0), np.int64)) for k in range(2))
    unit = (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
    return Stream("s", torch.zeros(3, 1), y, tasks, unit=unit if target == "regression" else None, target=target)


def test_the_outputs_of_heads_by_hand(kind: type[Amounts]) -> None:
    stream = amounts_stream(kind.name)
    found = kind().outputs(stream, "task-il")
    own = [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert found.n_outputs == 4
    assert found.masks.int().tolist() == [own] * 3
    assert found.task_of.tolist() == [0, 1, -1]
    labels = {"regression": [[-0.5, -0.25, 0, 0], [0, 0, 0, -0.25]], "multi-label": [[0, 1, 0, 0], [0, 0, 1, 1]]}
    assert found.labels.tolist() == [*labels[kind.name], [0, 0, 0, 0]]
    if found.unit is not None:
        assert [value.tolist() for value in found.unit] == [[1, 2, 1, 2], [2, 4, 2, 4]]
    assert kind().for_stream(stream, found).heads
    assert not kind().for_stream(stream, kind().outputs(stream, "domain-il")).heads
    with pytest.raises(InputError, match="there are no classes to tell apart, so the scenario must be domain-il") as no:
        kind().outputs(stream, "class-il")
    assert "\n" not in str(no.value)
