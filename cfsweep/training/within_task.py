"""What a checkpoint in the midst of a task is made of: a task may take a day.

What a task begins with is prepared again from there, which gives the same. What its steps have changed since is its
progress, for one run alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

SAVE_EVERY_S = 300.0

Save = Callable[[bytes], None]
Progress = Mapping[str, Any]


class Pauses:
    """Calls `save` in the midst of a task, `every_s` seconds after the last time at the earliest."""

    def __init__(self, save: Callable[[], None], every_s: float) -> None:
        self.save, self.every_s, self.last = save, every_s, time.monotonic()

    def between_steps(self) -> None:
        """Is called between two steps with no event between them."""
        if time.monotonic() - self.last >= self.every_s:
            self.save()
            self.last = time.monotonic()


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where torch's random numbers are, on the host and on a GPU."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    """Inverse of `random_state`; where one of the two was on another kind of device, the GPU's goes its own way."""
    on_host, on_gpu = state
    torch.set_rng_state(on_host.cpu())
    if on_gpu is not None and device.type == "cuda":
        torch.cuda.set_rng_state(on_gpu.cpu(), device)
