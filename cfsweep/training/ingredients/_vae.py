"""A small variational autoencoder as pure functions of one flat weight vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import grad

from cfsweep.training.engine.optimizers import BETA1, BETA2, EPS

LR = 1e-3


class Vae:
    """Input -> hidden layers -> mean and log variance of the code; code -> as many hidden layers -> input. ReLU in the
    hidden layers, which have `n_hidden` units each.

    The decoder gives the mean of a Gaussian of fixed variance 1 in every input. `size` weights in all, of which the
    last `decoder_size` are the decoder's. Training begins with the weights `initial` (size,), always the same.

    References:
        Kingma & Welling 2014 (arXiv 1312.6114), eq. 10 and appendix C.
    """

    def __init__(self, n_inputs: int, n_layers: int, n_hidden: int, n_latent: int) -> None:
        self.n_latent = n_latent
        hidden = [n_hidden] * n_layers
        self._encoder, self._decoder = (
            _shapes([n_inputs, *hidden, 2 * n_latent]),
            _shapes([n_latent, *hidden, n_inputs]),
        )
        self.shapes = self._encoder + self._decoder
        self.decoder_size = sum(map(math.prod, self._decoder))
        self.initial = _initial(self.shapes)
        self.size = len(self.initial)

    def encode(self, weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (n, n_latent) of the codes of x (n, n_inputs)."""
        mean, log_variance = _answers(weights[: -self.decoder_size], self._encoder, x).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, weights: Tensor, z: Tensor) -> Tensor:
        """The inputs (n, n_inputs) that the codes z (n, n_latent) stand for."""
        return _answers(weights[-self.decoder_size :], self._decoder, z)

    def losses(self, weights: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        """What training makes small, (n,): minus eq. 10 with one draw for each example, less the constant
        ½·n_inputs·log 2π. x (n, n_inputs), noise (n, n_latent) standard normal."""
        mean, log_variance = self.encode(weights, x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        error = (x - self.decode(weights, z)).square().sum(-1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return 0.5 * error + divergence

    def n_noise(self, epochs: int) -> int:
        """How many standard normal numbers `trained` takes for each example."""
        return epochs * (2 * self.n_latent + 1)

    def trained(
        self, weights: Tensor, x: Tensor, shares: tuple[Tensor, Tensor] | None, noise: Tensor, epochs: int, batch: int
    ) -> Tensor:
        """(size,): what becomes of `weights` (size,) in `epochs` passes of a fresh Adam over x (n, n_inputs).

        With `shares`, two scalars, each step also sees as many new examples as its `batch` that the autoencoder makes
        up as it was at the beginning; the mean losses of the two are weighed by them. The draws that encode the one are
        those that encode the other.

        noise (n, n_noise): for each epoch n_latent columns to encode with, as many to make examples of, and one whose
        order is that of the examples.
        """
        begin, weights = weights, weights + torch.zeros_like(x[0, 0])  # a copy, under vmap one for each row
        moments = torch.zeros_like(weights), torch.zeros_like(weights)

        def loss(weights: Tensor, x: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
            mean = self.losses(weights, x, noise).mean()
            if shares is None:
                return mean
            of_old = self.losses(weights, self.decode(begin, codes), noise).mean()
            return shares[0] * mean + shares[1] * of_old

        step = 0
        for part in noise.chunk(epochs, dim=-1):
            to_encode, codes, keys = torch.split(part, [self.n_latent, self.n_latent, 1], dim=-1)
            for chosen in torch.split(keys.squeeze(-1).argsort(), batch):
                step += 1
                gradient = grad(loss)(weights, x[chosen], codes[chosen], to_encode[chosen])
                _adam(weights, gradient, moments, step)
        return weights


def _shapes(widths: Sequence[int]) -> list[tuple[int, ...]]:
    """Those of the weights and of the bias of each layer between two widths, in turns."""
    return [shape for n_in, n_out in pairwise(widths) for shape in ((n_in, n_out), (n_out,))]


def _answers(weights: Tensor, shapes: Sequence[tuple[int, ...]], x: Tensor) -> Tensor:
    """The last layer's, with ReLU before it."""
    pieces = torch.split(weights, [math.prod(shape) for shape in shapes])
    layers = [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
    for number, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        x = (x.relu() if number else x) @ weight + bias
    return x


def _initial(shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """Drawn as `nn.Linear` draws: uniformly within 1/sqrt(inputs of the layer)."""
    generator = torch.Generator().manual_seed(0)
    pieces = []
    for weight, bias in zip(shapes[::2], shapes[1::2], strict=True):
        for shape in (weight, bias):
            uniform = torch.rand(math.prod(shape), generator=generator)
            pieces.append((2 * uniform - 1) / weight[0] ** 0.5)
    return torch.cat(pieces)


def _adam(weights: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], step: int) -> None:
    """One step of Kingma & Ba 2015, algorithm 1, in place, as fresh memory for each of so many numbers costs more than
    the arithmetic; `step` counts from 1."""
    mean, square = moments
    mean.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
    square.mul_(BETA2).add_(gradient.square(), alpha=1 - BETA2)
    size = square.sqrt().div_((1 - BETA2**step) ** 0.5).add_(EPS)
    weights.sub_((mean / size).mul_(LR / (1 - BETA1**step)))
