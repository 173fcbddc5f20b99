"""A small variational autoencoder as pure functions of one flat weight vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad

from cfsweep.training.engine.optimizers import BETA1, BETA2, EPS

LR = 1e-3


class Vae:
    """Input -> hidden -> mean and log variance of the code; code -> hidden -> input. ReLU in the hidden layers.

    The decoder gives the mean of a Gaussian of fixed variance 1 in every input. `size` weights in all, of which the
    last `decoder_size` are the decoder's. Training begins with the weights `initial` (size,), always the same.

    References:
        Kingma & Welling 2014 (arXiv 1312.6114), eq. 10 and appendix C.
    """

    def __init__(self, n_inputs: int, n_hidden: int, n_latent: int) -> None:
        self.n_latent = n_latent
        layers = [(n_inputs, n_hidden), (n_hidden, 2 * n_latent), (n_latent, n_hidden), (n_hidden, n_inputs)]
        self.shapes: list[tuple[int, ...]] = [s for n_in, n_out in layers for s in ((n_in, n_out), (n_out,))]
        sizes = [math.prod(shape) for shape in self.shapes]
        self.size, self.decoder_size = sum(sizes), sum(sizes[4:])
        self.initial = _initial(self.shapes)

    def encode(self, weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (n, n_latent) of the codes of x (n, n_inputs)."""
        w1, b1, w2, b2 = _split(weights[: -self.decoder_size], self.shapes[:4])
        mean, log_variance = ((x @ w1 + b1).relu() @ w2 + b2).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, decoder: Tensor, z: Tensor) -> Tensor:
        """The inputs (n, n_inputs) that the codes z (n, n_latent) stand for; `decoder` (decoder_size,)."""
        w1, b1, w2, b2 = _split(decoder, self.shapes[4:])
        return (z @ w1 + b1).relu() @ w2 + b2

    def loss(self, weights: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        """What training makes small, a scalar: minus the mean over examples of eq. 10 with one draw for each, less the
        constant ½·n_inputs·log 2π. x (n, n_inputs), noise (n, n_latent) standard normal."""
        mean, log_variance = self.encode(weights, x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        error = (x - self.decode(weights[-self.decoder_size :], z)).square().sum(-1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return (0.5 * error + divergence).mean()

    def trained(self, x: Tensor, noise: Tensor, epochs: int, batch_size: int) -> Tensor:
        """(size,): the weights after `epochs` passes of Adam over x (n, n_inputs).

        noise (n, epochs * (n_latent + 1)): for each epoch n_latent columns for the codes, and one whose order is that
        of the examples.
        """
        weights = self.initial.to(x.device)
        moments = torch.zeros_like(weights), torch.zeros_like(weights)
        step = 0
        for part in noise.chunk(epochs, dim=-1):
            order = part[:, -1].argsort()
            for chosen in torch.split(order, batch_size):
                step += 1
                gradient = grad(self.loss)(weights, x[chosen], part[chosen, :-1])
                weights, moments = _adam(weights, gradient, moments, step)
        return weights


def _initial(shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """Drawn as `nn.Linear` draws: uniformly within 1/sqrt(inputs of the layer)."""
    generator = torch.Generator().manual_seed(0)
    pieces = []
    for weight, bias in zip(shapes[::2], shapes[1::2], strict=True):
        for shape in (weight, bias):
            uniform = torch.rand(math.prod(shape), generator=generator)
            pieces.append((2 * uniform - 1) / weight[0] ** 0.5)
    return torch.cat(pieces)


def _adam(
    weights: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], step: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One step of Kingma & Ba 2015, algorithm 1; `step` counts from 1."""
    mean = moments[0].lerp(gradient, 1 - BETA1)
    square = BETA2 * moments[1] + (1 - BETA2) * gradient.square()
    size = square.sqrt() / (1 - BETA2**step) ** 0.5 + EPS
    return weights - LR / (1 - BETA1**step) * mean / size, (mean, square)


def _split(weights: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    pieces = torch.split(weights, [math.prod(shape) for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
