"""Networks as users write them, each with something that a plain training loop takes in its stride."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """Its backbone does not train; `pretrained`: it is the same whatever the seed."""

    def __init__(self, n_in: int, n_out: int, pretrained: bool) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(n_in, 16), nn.ReLU())
        self.head = nn.Linear(16, n_out)
        for parameter in self.backbone.parameters():
            parameter.requires_grad_(False)
            if pretrained:
                parameter.copy_(torch.linspace(-0.5, 0.5, parameter.numel()).view(parameter.shape))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(x))
        return logits


class Spare(nn.Module):
    """It has a head that nobody asks."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(n_in, 16), nn.Tanh())
        self.spare, self.head = nn.Linear(16, 3), nn.Linear(16, n_out)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class NoGrad(Spare):
    """Its body learns nothing."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.body(x)
        logits: Tensor = self.head(features)
        return logits


class Recurrent(nn.Module):
    """It reads an image line by line."""

    def __init__(self, input_shape: tuple[int, ...], n_out: int, cell: str) -> None:
        super().__init__()
        cells: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}
        self.cells, self.head = cells[cell](input_shape[-1], 8, batch_first=True), nn.Linear(8, n_out)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(x[:, 0])[0][:, -1])
        return logits


class Tied(nn.Module):
    """A buffer of random features, another one for each seed."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.randn(n_in, 16) / n_in**0.5)
        self.head = nn.Linear(16, n_out)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head((x.flatten(1) @ self.get_buffer("features")).relu())
        return logits


class Shuffled(Spare):
    """It sees the features in an order of its own, which is no tensor of the network."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.order = torch.randperm(n_in)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x.flatten(1)[:, self.order]))
        return logits


def shuffled(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Shuffled(math.prod(input_shape), n_outputs)


def frozen(input_shape: tuple[int, ...], n_outputs: int, pretrained: bool = True) -> nn.Module:
    return Frozen(math.prod(input_shape), n_outputs, pretrained)


def spare(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Spare(math.prod(input_shape), n_outputs)


def no_grad(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return NoGrad(math.prod(input_shape), n_outputs)


def recurrent(input_shape: tuple[int, ...], n_outputs: int, cell: str = "lstm") -> nn.Module:
    return Recurrent(input_shape, n_outputs, cell)


def random_features(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Tied(math.prod(input_shape), n_outputs)


def all_frozen(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return frozen(input_shape, n_outputs).requires_grad_(False)


def batch_norm(input_shape: tuple[int, ...], n_outputs: int, running: bool = True) -> nn.Module:
    layers = [nn.Flatten(), nn.Linear(math.prod(input_shape), 16), nn.BatchNorm1d(16, track_running_stats=running)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(16, n_outputs))


def breaks_in_training(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    module = spare(input_shape, n_outputs)
    forward = module.forward

    def broken(x: Tensor) -> Tensor:
        if module.training:
            raise RuntimeError("not while it trains")
        return forward(x)

    module.forward = broken  # type: ignore[method-assign]
    return module


class NoisyAlways(nn.Module):
    """Noise in its answers, also when it is evaluated."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(n_inputs, 16), nn.Linear(16, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.body(x.flatten(1)))
        return self.head(hidden + torch.randn(16))  # type: ignore[no-any-return]


def noisy_always(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return NoisyAlways(math.prod(input_shape), n_outputs)


class Counting(NoisyAlways):
    """Anneals with the number of calls, which it keeps to itself."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(torch.relu(self.body(x.flatten(1))) / (1 + 1e-5 * self.calls))  # type: ignore[no-any-return]


def counting(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Counting(math.prod(input_shape), n_outputs)


def with_a_lock(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    module = spare(input_shape, n_outputs)
    module.lock = threading.Lock()  # type: ignore[assignment]
    return module


class Scaled(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.body, self.head = nn.Linear(n_inputs, 16), nn.Linear(16, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.scale * torch.relu(self.body(x.flatten(1))))  # type: ignore[no-any-return]


def scaled(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return Scaled(math.prod(input_shape), n_outputs)
