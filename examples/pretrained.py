"""A network that was trained before, and a new domain: cfsweep begins where plain PyTorch has ended.

python -m examples.pretrained            # writes domains/ (two tasks) and source.pt (a network that knows the first)
cfsweep run search_spaces/ewc.yaml --stream domains --trials 16 --workers 2 --out runs/domains \
    --set network.name=examples.pretrained:network --set network.init=source.pt \
    --set stream.learned=1 --set stream.standardise=none
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def network(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    body = [nn.Flatten(), nn.Linear(math.prod(input_shape), 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(64, n_outputs))


def write_domains(folder: Path) -> None:
    """Two tasks of ten digits: as they are, and turned by a quarter. The source has seen none of these images."""
    x, y, part = _digits()
    folder.mkdir(exist_ok=True)
    for number, (title, images) in enumerate((("upright", x), ("turned", np.rot90(x, axes=(2, 3))))):
        parts = {"train": part > 2, "test": part == 0}
        arrays = {f"x_{name}": images[rows] for name, rows in parts.items()}
        arrays |= {f"y_{name}": y[rows] for name, rows in parts.items()}
        np.savez(folder / f"{number}-{title}.npz", **{key: np.ascontiguousarray(of) for key, of in arrays.items()})


def write_source(path: Path) -> None:
    """The weights of a network that was trained on other upright digits, in plain PyTorch."""
    images, labels, part = _digits()
    own = (part == 1) | (part == 2)
    x, y = torch.from_numpy(images[own]), torch.from_numpy(labels[own])
    torch.manual_seed(0)
    model = network(tuple(x.shape[1:]), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(40):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    torch.save(model.state_dict(), path)


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All images (n, 1, 8, 8) float32 and their digits, each in one of five parts: 0 is for test, 1 and 2 the source's,
    3 and 4 the stream's. What the source was trained on would tell nothing of what it knows."""
    digits = load_digits()
    return digits.images.astype(np.float32)[:, None] / 16 - 0.3, digits.target, np.arange(len(digits.target)) % 5


if __name__ == "__main__":
    write_domains(Path("domains"))
    write_source(Path("source.pt"))
