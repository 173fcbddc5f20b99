"""Networks of the user's own."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cfsweep.training.streams import Stream


def moody(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """One that cannot be lifted over runs: it draws random numbers."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(input_shape), n_outputs))


def normed(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """One with batch statistics, of inputs as they come."""
    n = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(n), nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, n_outputs))


class Counted(nn.Module):
    """Leaves a mark in the file `log` for each training step of a stack of runs."""

    def __init__(self, n_inputs: int, n_outputs: int, log: str) -> None:
        super().__init__()
        self.head, self.log = nn.Linear(n_inputs, n_outputs), Path(log)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled() and len(x) == 64:  # a whole batch
            with self.log.open("a") as file:
                file.write(".")
        logits: Tensor = self.head(x.flatten(1))
        return logits


def counted(input_shape: tuple[int, ...], n_outputs: int, log: str) -> nn.Module:
    return Counted(math.prod(input_shape), n_outputs, log)


def telling(input_shape: tuple[int, ...], n_outputs: int, log: str) -> nn.Module:
    """Writes into the file `log` what the process that builds it knows of itself: as each worker does for each pack."""
    with Path(log).open("a") as file:
        file.write(json.dumps(_of_this_process()) + "\n")
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), n_outputs))


def _of_this_process() -> dict[str, Any]:
    trainable = sys.modules.get("cfsweep.sweeping.ray_backend.trainable")
    return {
        "pid": os.getpid(),
        "modules": sorted({"cfsweep.sweeping.ray_backend.preload", "optuna"} & set(sys.modules)),
        "environment": {name: value for name, value in os.environ.items() if name.startswith(("MKL", "OMP"))},
        "streams": [_place(stream) for stream in trainable._STREAMS.values()] if trainable else [],
    }


def _place(stream: Stream) -> dict[str, Any]:
    """In which file of memory its tensors lie, where in it, and what they hold."""
    places = {}
    for name in ("x", "y"):
        tensor: Tensor = getattr(stream, name)
        for line in Path("/proc/self/maps").read_text().splitlines():
            ends, _, offset, _, inode, *path = line.split()
            begin, end = (int(address, 16) for address in ends.split("-"))
            if begin <= tensor.data_ptr() < end:
                places[name] = [path, inode, int(offset, 16) + tensor.data_ptr() - begin, int(tensor.sum())]
    return places
