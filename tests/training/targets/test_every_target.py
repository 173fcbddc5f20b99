"""What every built-in target must do: gradients are those of autograd, samples agree, the constant is the best one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cfsweep.training.targets import Target, registry

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
