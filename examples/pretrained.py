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
    """Two tasks of ten digits: as they are, and turned by a quarter."""
    digits = load_digits()
    x, y = digits.images.astype(np.float32) / 16 - 0.3, digits.target
    folder.mkdir(exist_ok=True)
    for number, (name, images) in enumerate((("upright", x), ("turned", np.rot90(x, axes=(1, 2))))):
        train = np.arange(len(y)) % 5 > 0
        parts = {
            "x_train": images[train, None],
            "y_train": y[train],
            "x_test": images[~train, None],
            "y_test": y[~train],
        }
        np.savez(folder / f"{number}-{name}.npz", **{key: np.ascontiguousarray(value) for key, value in parts.items()})


def write_source(task: Path, path: Path) -> None:
    """The weights of a network that was trained on one task, in plain PyTorch."""
    with np.load(task) as arrays:
        x, y = torch.from_numpy(arrays["x_train"]), torch.from_numpy(arrays["y_train"])
    torch.manual_seed(0)
    model = network(tuple(x.shape[1:]), 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    torch.save(model.state_dict(), path)


if __name__ == "__main__":
    write_domains(Path("domains"))
    write_source(Path("domains") / "0-upright.npz", Path("source.pt"))
