"""Models as users have them, small ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

N_IN, N_OUT = 6, 4


class Tied(nn.Module):
    """Two of its layers are one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.head = nn.Linear(N_IN, N_IN), nn.Linear(N_IN, N_IN), nn.Linear(N_IN, N_OUT)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.other(self.one(x).tanh()).tanh())
        return out


class TiedHead(nn.Module):
    """Its output layer has the weight of the layer before."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(N_OUT, N_OUT), nn.Linear(N_OUT, N_OUT)
        self.head.weight = self.body.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x[:, :N_OUT]).tanh())
        return out


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(N_IN, 5), nn.ReLU(), nn.Linear(5, N_OUT))


def smooth() -> nn.Module:
    return nn.Sequential(nn.Linear(N_IN, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, N_OUT))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(N_IN, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, N_OUT))


def frozen() -> nn.Module:
    model = smooth()
    model[0].requires_grad_(False)
    return model


def double() -> nn.Module:
    return smooth().double()


MODELS: tuple[Callable[[], nn.Module], ...] = (plain, smooth, batch_norm, frozen, Tied, double)


def made(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """One with weights of its own, in training mode, whose statistics have seen some examples."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = factory()
        dtype = next(model.parameters()).dtype
        model(torch.randn(30, N_IN, dtype=dtype))
    return model


def some_examples(n: int = 12, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """x (n, N_IN) and labels (n,) below N_OUT."""
    drawing = torch.Generator().manual_seed(seed)
    return torch.randn(n, N_IN, generator=drawing).to(dtype), torch.randint(N_OUT, (n,), generator=drawing)


def moved(model: nn.Module, by: float = 0.1, seed: int = 1) -> None:
    """Moves all that is trained, at random."""
    drawing = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn(parameter.shape, generator=drawing))
